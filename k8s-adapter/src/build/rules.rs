//! Rules of an HTTPRoute: matches, filters and references together.

use super::Told;
use super::filters::{Effects, effects, timeouts};
use super::matches::condition;
use super::references::Backends;
use super::status::Problem;
use crate::objects::{HttpMatch, HttpRoute, HttpRouteRule, Key};
use routing::{Answer, Match, PathMatch, Rule, Share};
use std::sync::Arc;

/// The rules of a route, whatever they are attached to.
#[derive(Default)]
pub(super) struct Rules {
    /// Number of the rule, condition, and what becomes of the request; in the order of rules.
    pub(super) cases: Vec<(usize, Match, Arc<Rule>)>,
    /// The first reference that leads nowhere.
    pub(super) unresolved: Option<Problem>,
    /// What is not supported, by rule.
    pub(super) unsupported: Vec<String>,
    /// How many rules can do what they should, at least in part.
    pub(super) usable: usize,
    /// Whether there are any.
    pub(super) count: usize,
}

/// Reads the rules of `route`.
pub(super) fn rules(key: &Key, route: &HttpRoute, backends: &mut Backends<'_>, told: &mut Told) -> Rules {
    let everything = [HttpRouteRule::default()];
    let wanted = route.spec.rules.as_deref().unwrap_or(&everything);
    let mut rules = Rules { count: wanted.len(), ..Rules::default() };
    for (number, rule) in wanted.iter().enumerate() {
        let ignored = [("retry", &rule.retry), ("sessionPersistence", &rule.session_persistence)];
        for (name, _) in
            ignored.iter().filter(|(_, value)| value.as_ref().is_some_and(|value| !value.is_null()))
        {
            told.note(format!("HTTPRoute {key}: rules[{number}].{name} is not supported and has no effect"));
        }
        let before = rules.unsupported.len();
        rules.read(key, number, rule, backends, told);
        if rules.unsupported.len() == before {
            rules.usable += 1;
        }
    }
    rules
}

impl Rules {
    fn read(
        &mut self,
        key: &Key,
        number: usize,
        rule: &HttpRouteRule,
        backends: &mut Backends<'_>,
        told: &mut Told,
    ) {
        let name: Arc<str> = format!("{key}/{number}").into();
        let shares = self.shares(key, number, rule, backends, told);
        let everything = [HttpMatch::default()];
        let matches = if rule.matches.is_empty() { &everything[..] } else { &rule.matches };
        let mut made: Vec<(Option<PathMatch>, Arc<Rule>)> = Vec::new();
        for wanted in matches {
            let on = match condition(wanted) {
                Ok(on) => on,
                Err(problem) => {
                    self.unsupported.push(format!("rules[{number}]: {problem}"));
                    continue;
                }
            };
            // Only a replaced prefix makes a rule differ from match to match.
            let path = Some(&on.path).filter(|_| !rule.filters.is_empty());
            let known =
                made.iter().find(|(known, _)| known.as_ref() == path).map(|(_, rule)| Arc::clone(rule));
            let rule = known.unwrap_or_else(|| {
                let rule = Arc::new(self.rule(number, rule, &name, &on.path, &shares));
                made.push((path.cloned(), Arc::clone(&rule)));
                rule
            });
            self.cases.push((number, on, rule));
        }
    }

    fn rule(
        &mut self,
        number: usize,
        rule: &HttpRouteRule,
        name: &Arc<str>,
        path: &PathMatch,
        shares: &[Share],
    ) -> Rule {
        let read =
            effects(&rule.filters, path).and_then(|effects| Ok((effects, timeouts(rule.timeouts.as_ref())?)));
        let (Effects { request, response, rewrite, redirect }, [request_timeout, backend_timeout], answer) =
            match read {
                Ok((mut effects, timeouts)) => {
                    let answer = match effects.redirect.take() {
                        Some(redirect) => Answer::Redirect(redirect),
                        None => Answer::Backends(shares.to_vec()),
                    };
                    (effects, timeouts, answer)
                }
                Err(problem) => {
                    self.unsupported.push(format!("rules[{number}]: {problem}"));
                    (Effects::default(), [None, None], Answer::Unsupported(problem.into()))
                }
            };
        debug_assert!(redirect.is_none(), "it has become the answer");
        Rule {
            name: Arc::clone(name),
            request_headers: request,
            response_headers: response,
            rewrite,
            request_timeout,
            backend_timeout,
            answer,
        }
    }

    fn shares(
        &mut self,
        key: &Key,
        number: usize,
        rule: &HttpRouteRule,
        backends: &mut Backends<'_>,
        told: &mut Told,
    ) -> Vec<Share> {
        let mut shares = Vec::with_capacity(rule.backend_refs.len());
        for (at, to) in rule.backend_refs.iter().enumerate() {
            let (mut share, problem) = backends.share(&key.namespace, to, told);
            if let Some(problem) = problem {
                let place = format!("rules[{number}].backendRefs[{at}]: {}", problem.message);
                self.unresolved.get_or_insert_with(|| Problem::new(problem.reason, place));
            }
            if !to.filters.is_empty() {
                let reason = "filters of a backendRef are not supported";
                self.unsupported.push(format!("rules[{number}].backendRefs[{at}]: {reason}"));
                share.to = Err(reason.into());
            }
            shares.push(share);
        }
        shares
    }
}
