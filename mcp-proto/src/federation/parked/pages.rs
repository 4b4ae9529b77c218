//! Pages that a legacy target wants visited before a call is made again (-32042).

use super::super::route::Read;
use super::state::Purport;
use crate::exchange::ExchangeId;
use crate::federation::asks::{Offers, may_ask_back};
use crate::jsonrpc::envelope::Envelope;
use crate::jsonrpc::members::members;
use crate::jsonrpc::params;
use crate::jsonrpc::splice::quote;
use crate::leg::LegId;
use crate::refusal;
use crate::shard::Shard;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

impl Shard {
    /// A legacy target wants pages visited before the call is made again. Whether the client is asked to.
    pub(in crate::federation) fn ask_to_visit(
        &mut self,
        id: LegId,
        exchange: ExchangeId,
        part: u16,
        data: &[u8],
    ) -> bool {
        let Some(waiting) = self.exchange(exchange) else { return false };
        if !waiting.method(part).is_some_and(|method| may_ask_back(&method)) {
            return false;
        }
        let pages = pages(data);
        if pages.is_empty() {
            return false;
        }
        let (_, capabilities, _) = waiting.claimed();
        let params: &[u8] = b"{\"mode\":\"url\"}";
        if Offers::parse(capabilities).missing("elicitation/create", Some(params)).is_some() {
            let urls: Vec<_> = pages.iter().map(|page| format!("{} ({})", page.url, page.message)).collect();
            let words = format!("needs pages to be visited first: {}", urls.join(", "));
            self.give_up_call(id, exchange, part, &words);
            return true;
        }
        let mut asked = Vec::new();
        for page in pages {
            self.numbers += 1;
            asked.push(if asked.is_empty() { b'{' } else { b',' });
            quote(&format!("ask-{}", self.numbers), &mut asked);
            asked.extend_from_slice(b":{\"method\":\"elicitation/create\",\"params\":");
            asked.extend_from_slice(&page.params);
            asked.push(b'}');
        }
        asked.push(b'}');
        self.settle_leg(id);
        self.answer_with_questions(exchange, part, &asked, Purport::Anew);
        true
    }

    /// The client has an answer to each page, or not: then the target will ask again.
    pub(super) fn call_anew(
        &mut self,
        id: ExchangeId,
        part: u16,
        envelope: &Envelope<'_>,
        message: &Bytes,
        responses: &[(Vec<u8>, &[u8])],
    ) {
        let refused = |raw: &[u8]| {
            let action = serde_json::from_slice::<Value>(raw).unwrap_or_default();
            action.get("action").and_then(Value::as_str).is_none_or(|action| action != "accept")
        };
        if responses.iter().any(|(_, raw)| refused(raw)) {
            let words = "the call needs a page to be visited, which was declined";
            let Some(waiting) = self.exchange(id) else { return };
            let body = match waiting.method(part).as_deref() {
                Some("tools/call") => refusal::tool_failure(waiting.id_text(part), words, true),
                _ => return self.fail_part(id, part, refusal::INTERNAL_ERROR, words, None),
            };
            return self.answer_part(id, part, &body);
        }
        let given = [&envelope.params.request_state, &envelope.params.input_responses];
        let given = given.into_iter().flatten().cloned().collect();
        let plain = Bytes::from(params::without(message, given));
        let depth = self.config.limits.depth;
        if let Ok(envelope) = Envelope::parse(&plain, depth) {
            self.request(id, part, &envelope, Read { message: &plain, envelope: None });
        }
    }
}

/// A page in the data of a -32042 error (2025-11-25, client/elicitation, URL Elicitation Required Error).
struct Page {
    url: String,
    message: String,
    /// As a question's parameters.
    params: Vec<u8>,
}

fn pages(data: &[u8]) -> Vec<Page> {
    #[derive(Deserialize)]
    struct Data<'a> {
        #[serde(borrow, default)]
        elicitations: Vec<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Visit {
        url: String,
        #[serde(default)]
        message: String,
    }
    let elicitations = serde_json::from_slice::<Data<'_>>(data).map(|data| data.elicitations);
    let page = |raw: &RawValue| {
        let visit: Visit = serde_json::from_str(raw.get()).ok()?;
        let members = members(raw.get().as_bytes())?;
        let mode = members.iter().any(|member| member.key == b"mode");
        let id = members.into_iter().filter(|member| member.key == b"elicitationId");
        let mut params = params::without(raw.get().as_bytes(), id.map(|id| id.span).collect());
        if !mode {
            params.splice(1..1, b"\"mode\":\"url\",".iter().copied());
        }
        Some(Page { url: visit.url, message: visit.message, params })
    };
    elicitations.unwrap_or_default().into_iter().filter_map(page).collect()
}
