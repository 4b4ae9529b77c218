// A call whose answer stream breaks after its first event and is taken up again by `Last-Event-ID`.
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { load } from '../packages.mjs';

const { EventSourceParserStream } = load('eventsource-parser/stream');

const ID = 'resumed';

export class Resumed {
    constructor(url, { sessionId, protocolVersion }) {
        this.url = url;
        this.headers = { 'mcp-session-id': sessionId, 'mcp-protocol-version': protocolVersion };
    }

    // Calls a tool, hangs up, comes back after a while, and gives the answer.
    async call(name, given, after) {
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
        await sleep(after);
        const resumed = await this.#comeBack(first.id);
        assert.equal(resumed.status, 200);
        const last = await answerOrFirst(resumed, event => event.data && JSON.parse(event.data).id === ID);
        return JSON.parse(last.data);
    }

    async #comeBack(id) {
        const headers = { ...this.headers, accept: 'text/event-stream', 'last-event-id': id };
        for (;;) {
            const response = await fetch(this.url, { headers });
            // The server has not noticed yet that the stream broke.
            if (response.status !== 409) return response;
            await sleep(10);
        }
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
