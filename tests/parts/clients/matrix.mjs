// The cells of the TypeScript SDKs: node matrix.mjs CELLS.json, with `sdk` 1 or 2 and `mode` legacy, auto or modern in
// each cell.
import { load } from '../packages.mjs';
import { checks, run } from './cells.mjs';
import { Inbox } from './checks.mjs';

const one = {
    ...load('@modelcontextprotocol/sdk/client/index.js'),
    ...load('@modelcontextprotocol/sdk/client/streamableHttp.js'),
    ...load('@modelcontextprotocol/sdk/client/sse.js'),
    ...load('@modelcontextprotocol/sdk/client/stdio.js'),
    schemas: load('@modelcontextprotocol/sdk/types.js'),
};
const two = { ...load('@modelcontextprotocol/client'), ...load('@modelcontextprotocol/client/stdio') };

const MODERN = '2026-07-28';
const MODES = { legacy: 'legacy', auto: 'auto', modern: { pin: MODERN } };
const INFO = { name: 'matrix', version: '1.0.0' };
const CAPABILITIES = { sampling: {}, elicitation: { form: {} }, roots: { listChanged: true } };

// What the user and the model say.
const ANSWERS = {
    'roots/list': () => ({ roots: [{ uri: 'file:///first', name: 'first' }] }),
    'sampling/createMessage': ({ params: { messages } }) => ({
        role: 'assistant',
        model: 'none',
        content: { type: 'text', text: `sampled: ${messages[0].content.text}` },
    }),
    'elicitation/create': ({ params: { requestedSchema } }) => ({
        action: 'accept',
        content: Object.fromEntries(
            Object.entries(checks.answers).filter(([name]) => name in requestedSchema.properties),
        ),
    }),
};
const NOTICES = [
    'notifications/message',
    'notifications/resources/updated',
    'notifications/resources/list_changed',
    'notifications/tools/list_changed',
    'notifications/prompts/list_changed',
];
const LISTS = {
    tools: ['listTools', 'name'],
    prompts: ['listPrompts', 'name'],
    resources: ['listResources', 'uri'],
    templates: ['listResourceTemplates', 'uriTemplate'],
};
const SCHEMAS = {
    'roots/list': 'ListRootsRequest',
    'sampling/createMessage': 'CreateMessageRequest',
    'elicitation/create': 'ElicitRequest',
    'notifications/message': 'LoggingMessageNotification',
    'notifications/resources/updated': 'ResourceUpdatedNotification',
    'notifications/resources/list_changed': 'ResourceListChangedNotification',
    'notifications/tools/list_changed': 'ToolListChangedNotification',
    'notifications/prompts/list_changed': 'PromptListChangedNotification',
};

class Matrix {
    #inbox = new Inbox();
    #progress = [];

    static async open(cell) {
        const matrix = new Matrix();
        const { sdk, mode, transport } = cell;
        const { Client, schemas, ...transports } = sdk === 1 ? one : two;
        const named = name => (schemas ? schemas[`${SCHEMAS[name]}Schema`] : name);
        const versionNegotiation = { mode: MODES[mode] };
        matrix.client = new Client(INFO, { capabilities: CAPABILITIES, versionNegotiation });
        for (const [name, answer] of Object.entries(ANSWERS)) matrix.client.setRequestHandler(named(name), answer);
        for (const name of NOTICES) {
            matrix.client.setNotificationHandler(named(name), ({ params }) => matrix.#inbox.push({ name, params }));
        }
        matrix.sdk = sdk;
        const connection = opened(transports, transport, cell);
        await matrix.client.connect(connection);
        matrix.#watch(connection);
        matrix.era = sdk === 2 && matrix.client.getProtocolEra?.() === 'modern' ? 'modern' : 'legacy';
        return matrix;
    }

    // The SDKs lose a step that is read together with the answer: it goes by a longer way to its callback.
    #watch(connection) {
        const { onmessage } = connection;
        connection.onmessage = (message, extra) => {
            if (message.method === 'notifications/progress') this.#progress.push(message.params);
            onmessage(message, extra);
        };
    }

    #call({ tool, arguments: given, ...more }, options) {
        const params = { name: tool, arguments: given ?? {}, ...more };
        return this.sdk === 1 ? this.client.callTool(params, undefined, options) : this.client.callTool(params, options);
    }

    ping() {
        return this.client.ping();
    }

    async list({ what, cursor: foreign }) {
        const [list, name] = LISTS[what];
        const names = [];
        let cursor = foreign;
        do {
            const page = await this.client[list](cursor === undefined ? undefined : { cursor });
            names.push(...Object.values(page).find(Array.isArray).map(item => item[name]));
            cursor = page.nextCursor;
        } while (cursor !== undefined);
        return { names };
    }

    async schema({ tool }) {
        let cursor;
        do {
            const page = await this.client.listTools(cursor === undefined ? undefined : { cursor });
            const found = page.tools.find(({ name }) => name === tool);
            if (found) return { names: Object.keys(found.inputSchema) };
            cursor = page.nextCursor;
        } while (cursor !== undefined);
        throw new Error(`${tool} isn't listed`);
    }

    async call({ tool, arguments: given, progress: wanted }) {
        this.#progress = [];
        const options = wanted && { onprogress: () => {} };
        const { content, structuredContent, isError } = await this.#call({ tool, arguments: given }, options);
        const progress = this.#progress.map(step => [step.progress, step.total]);
        return { content, structured: structuredContent, isError, progress };
    }

    async cancel({ tool, arguments: given, then }) {
        const abort = new AbortController();
        const options = { signal: abort.signal, onprogress: () => abort.abort('enough') };
        const failure = await this.#call({ tool, arguments: given }, options).catch(error => error);
        if (!/enough/.test(failure.message ?? failure)) throw new Error(`not cancelled: ${failure.message ?? failure}`);
        const { content } = await this.#call({ tool: then.tool, arguments: then.arguments ?? given });
        const text = content[0].text;
        if (text !== then.text) throw new Error(`then ${text}`);
        return {};
    }

    async log({ tool }) {
        this.#inbox.clear();
        const _meta = { 'io.modelcontextprotocol/logLevel': 'info' };
        if (this.era === 'legacy') await this.client.setLoggingLevel('info');
        const { content } = await this.#call({ tool, ...(this.era === 'modern' && { _meta }) });
        const logs = this.#inbox.all(({ name }) => name === 'notifications/message').map(({ params }) => params.data);
        return { content, logs };
    }

    async get({ prompt, arguments: given }) {
        const { messages } = await this.client.getPrompt({ name: prompt, arguments: given });
        return { content: messages.map(({ content }) => content) };
    }

    async read({ uri }) {
        const { contents } = await this.client.readResource({ uri });
        if (contents[0].uri !== uri) throw new Error(`${contents[0].uri} instead of ${uri}`);
        return { content: contents, blob: contents[0].blob };
    }

    async complete({ prompt, template, argument: [name, value], context }) {
        const ref = prompt ? { type: 'ref/prompt', name: prompt } : { type: 'ref/resource', uri: template };
        const given = { ref, argument: { name, value }, ...(context && { context: { arguments: context } }) };
        return { values: (await this.client.complete(given)).completion.values };
    }

    async update({ uri, tool, twice }) {
        this.#inbox.clear();
        const end = await this.#hear({ resourceSubscriptions: [uri] }, uri);
        await this.#call({ tool, arguments: twice ? {} : { uri } });
        await this.#inbox.wait(({ name, params }) => name === 'notifications/resources/updated' && params.uri === uri);
        if (twice) await this.#call({ tool });
        await end();
        return {};
    }

    async changed({ what, tool, arguments: given }) {
        this.#inbox.clear();
        const end = await this.#hear({ [`${what}ListChanged`]: true });
        await this.#call({ tool, arguments: given });
        await this.#inbox.wait(({ name }) => name === `notifications/${what}/list_changed`);
        await end();
        return {};
    }

    // Sees to it that these are told, and gives what ends it.
    async #hear(filter, uri) {
        if (this.era === 'modern') {
            const subscription = await this.client.listen(filter);
            return () => subscription.close();
        }
        if (uri === undefined) return async () => {};
        await this.client.subscribeResource({ uri });
        return () => this.client.unsubscribeResource({ uri });
    }

    close() {
        return this.client.close();
    }
}

function opened(transports, transport, { url, command, arguments: args, env }) {
    if (transport === 'http') return new transports.StreamableHTTPClientTransport(new URL(url));
    if (transport === 'sse') return new transports.SSEClientTransport(new URL(url));
    return new transports.StdioClientTransport({ command, args, env: { ...process.env, ...env }, stderr: 'ignore' });
}

await run(cell => Matrix.open(cell));
