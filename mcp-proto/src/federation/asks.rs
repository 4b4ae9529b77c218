//! Answers that are no answers: what a target of one era wants of a client of the other before it goes on.
//!
//! | client | target | what comes | what becomes of it |
//! |---|---|---|---|
//! | legacy | modern | `input_required` | a [round](rounds) of requests to the client, then the call again |
//! | legacy | modern | -32021 | words: it speaks of what the gateway declared |
//! | modern | legacy | a request | the call is [parked](super::parked) |
//! | modern | legacy | -32042 | `input_required` with the pages to visit, then the call again |

mod offers;
mod rounds;

pub(crate) use offers::{Offers, may_ask_back};
pub(crate) use rounds::{Place, Round};

use crate::events::Held;
use crate::exchange::ExchangeId;
use crate::jsonrpc::envelope::Envelope;
use crate::jsonrpc::members::members;
use crate::jsonrpc::rewrite::ResultType;
use crate::leg::LegId;
use crate::refusal;
use crate::shard::Shard;
use routing::TargetId;

impl Shard {
    /// Whether an answer that crosses eras is none, but asks its client something, which is then under way.
    pub(crate) fn asks(&mut self, id: LegId, exchange: ExchangeId, part: u16, held: &Held) -> bool {
        let Some(waiting) = self.exchange(exchange).filter(|it| it.is_request(part)) else { return false };
        match (waiting.modern.is_some(), held.result_type) {
            (false, Some(ResultType::InputRequired)) => {
                self.begin_round(id, exchange, part, &held.raw);
                true
            }
            (false, Some(ResultType::Other)) => {
                // What it has begun can't be followed by this client; who reads the failure knows that it was begun.
                let words =
                    "began something that this client's protocol revision knows nothing of, such as a task";
                self.give_up_call(id, exchange, part, words);
                true
            }
            (_, Some(_)) => false,
            (modern, None) => match error_of(&held.raw) {
                Some((refusal::MISSING_CAPABILITY, data)) if !modern => {
                    self.tell_missing(id, exchange, part, data);
                    true
                }
                Some((refusal::URL_ELICITATION_REQUIRED, data)) if modern => {
                    self.ask_to_visit(id, exchange, part, data)
                }
                _ => false,
            },
        }
    }

    /// A modern target misses what the client never declared. The gateway repeated the client's own words, so the
    /// client can't make it good; who reads the failure may know another way.
    fn tell_missing(&mut self, id: LegId, exchange: ExchangeId, part: u16, data: &[u8]) {
        let wanted = members(data)
            .and_then(|told| {
                let wanted = told.into_iter().find(|member| member.key == b"requiredCapabilities")?;
                members(data.get(wanted.span)?)
            })
            .unwrap_or_default();
        let wanted: Vec<_> = wanted.iter().map(|member| String::from_utf8_lossy(&member.key)).collect();
        let words = match wanted.is_empty() {
            true => "needs a capability that the client does not have".to_owned(),
            false => format!("needs of the client, which does not have it: {}", wanted.join(", ")),
        };
        self.give_up_call(id, exchange, part, &words);
    }

    /// A call fails because of what its target asks, which the client reads about.
    pub(super) fn give_up_call(&mut self, id: LegId, exchange: ExchangeId, part: u16, words: &str) {
        let Some(target) = self.legs.get(id).map(|leg| leg.target.id.clone()) else { return };
        self.settle_leg(id);
        self.refuse_call(&target, exchange, part, words);
    }

    /// The same for a call that has no request at its target any more.
    pub(super) fn refuse_call(&mut self, target: &TargetId, exchange: ExchangeId, part: u16, words: &str) {
        let words = format!("target \"{}\" {words}", target.name);
        if let Some(exchange) = self.exchange_mut(exchange) {
            exchange.log.error = Some(words.clone());
        }
        self.answer_failed_call(target, exchange, part, &words);
    }
}

/// Code and data of an error response.
fn error_of(message: &[u8]) -> Option<(i64, &[u8])> {
    let error = Envelope::parse(message, usize::MAX).ok()?.error?;
    let object = message.get(error.span)?;
    let data = members(object)?.into_iter().find(|member| member.key == b"data");
    Some((error.code?, data.and_then(|data| object.get(data.span)).unwrap_or_default()))
}
