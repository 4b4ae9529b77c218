//! What comes back of a request that was passed on: the target's answer, or why there is none.

use crate::answer::{Content, EditedHead};
use crate::conn::{Conn, Role};
use crate::exchange::{Answer, ExchangeId};
use crate::federation::Media;
use crate::http::{Framing, Method, Response, write};
use crate::leg::{Inbound, LegId};
use crate::shard::Shard;

impl Shard {
    /// The head of a target's answer: its body follows as it comes.
    pub(crate) fn pass_head(&mut self, id: LegId, exchange: ExchangeId, head: &Response) -> Inbound {
        let took = self.legs.get(id).and_then(|leg| leg.sent_at);
        let took = took.map(|at| self.now.saturating_duration_since(at));
        let Some(waiting) = self.exchange_mut(exchange) else { return Inbound::Drop };
        waiting.log.target_duration = took;
        // Of who has hung up already, only what is written tells whether he still reads.
        let ended =
            self.conns.get_mut(exchange.conn).and_then(Conn::client).is_some_and(|client| client.ended);
        if Media::of(head) == Media::Events && !ended {
            self.stream_answer(id);
        }
        self.begin_passed(exchange, head);
        Inbound::Pass { rewriter: None, event: false }
    }

    /// Writes the head of an answer as the target gave it; the body follows with [`Self::write_body`].
    fn begin_passed(&mut self, id: ExchangeId, head: &Response) {
        let leaving = self.is_leaving(id.conn);
        let Some(slot) = self.conns.get_mut(id.conn) else { return };
        let Role::Client(client) = &mut slot.role else { return };
        let Some(exchange) = client.exchange.as_mut().filter(|it| it.serial == id.serial) else { return };
        exchange.log.status = head.status;
        let streamed = matches!(head.framing, Framing::Chunked | Framing::UntilClose);
        let chunked = streamed && !exchange.head.http10;
        let keep_alive = exchange.head.keep_alive && !leaving && (chunked || !streamed);
        slot.outbox.write(|out| {
            write::status(out, head.status);
            let mut edited = EditedHead { out, edits: exchange.way.answer_edits() };
            for (name, value) in head.fields.end_to_end() {
                match name.eq_ignore_ascii_case("content-length") {
                    false => edited.passed(name, value),
                    // Such an answer must not have it, whatever it says (RFC 9110, 8.6).
                    true if head.status == 204 => {}
                    true => write::field(edited.out, name, value),
                }
            }
            if chunked {
                write::chunked(edited.out);
            }
            if !keep_alive {
                write::field(edited.out, "connection", b"close");
            } else if exchange.head.http10 {
                write::field(edited.out, "connection", b"keep-alive");
            }
            edited.end();
        });
        exchange.head.keep_alive = keep_alive;
        exchange.answer = Answer::Begun { events: false, chunked };
        self.flush(id.conn);
    }

    /// Answers in the target's place, in words: who asks here may know nothing of JSON-RPC.
    pub(super) fn answer_plainly(&mut self, id: ExchangeId, status: u16, words: &str) {
        let Some(exchange) = self.exchange_mut(id) else { return };
        exchange.log.error = Some(words.to_owned());
        let to_head = exchange.head.method == Method::Head;
        let retry: &[(&'static str, &[u8])] = if status == 503 { &[("retry-after", b"1")] } else { &[] };
        self.begin(id, status, Content::Text(words.len() as u64), retry);
        if !to_head {
            self.write_copy(id, words.as_bytes());
        }
        self.finish(id);
    }
}
