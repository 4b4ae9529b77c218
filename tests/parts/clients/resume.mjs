// A call whose answer stream breaks after its first event and is taken up again by `Last-Event-ID`.
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { load } from '../packages.mjs';

const { EventSourceParserStream } = load('eventsource-parser/stream');

const ID = 'resumed';
const WHILE = 1_000;

export class Resumed {
    constructor(url, { sessionId, protocolVersion }) {
        this.url = url;
        this.headers = { 'mcp-session-id': sessionId, 'mcp-protocol-version': protocolVersion };
    }

    // Calls a tool, hangs up, comes back until it is answered, and gives the answer.
    async call(name, given) {
        const params = { name, arguments: given, _meta: { progressToken: ID } };
        const abort = new AbortController();
        const broken = await fetch(this.url, {
            method: 'POST',
            headers: { ...this.headers, 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
            body: JSON.stringify({ jsonrpc: '2.0', id: ID, method: 'tools/call', params }),
            signal: abort.signal,
        });
        assert.equal(broken.status, 200);
        const first = await answerOrFirst(broken, () => true);
        assert.ok(first.id, 'the first event has an id');
        abort.abort();
        for (;;) {
            const last = await this.#comeBack(first.id);
            if (last !== undefined) return JSON.parse(last.data);
        }
    }

    // The answer, if it comes within a while: some servers tell who is back only what they have said by then.
    async #comeBack(id) {
        const headers = { ...this.headers, accept: 'text/event-stream', 'last-event-id': id };
        const abort = new AbortController();
        const resumed = await fetch(this.url, { headers, signal: abort.signal });
        // The server has not noticed yet that the stream broke.
        if (resumed.status === 409) return void (await sleep(10));
        assert.equal(resumed.status, 200);
        const answer = answerOrFirst(resumed, event => event.data && JSON.parse(event.data).id === ID);
        // Nobody waits for it any more when it is broken off.
        answer.catch(() => {});
        const last = await Promise.race([answer, sleep(WHILE)]);
        abort.abort();
        return last;
    }
}

async function answerOrFirst({ body }, fits) {
    const events = body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream());
    const reader = events.getReader();
    for (;;) {
        const { value, done } = await reader.read();
        if (done) throw new Error('the stream ended before the answer');
        if (fits(value)) {
            reader.releaseLock();
            return value;
        }
    }
}
