// The client that the official suite's client scenarios are run with. With GATEWAY, the path of the program, it starts
// one before the scenario's server and talks through it, so that the suite sees what the gateway does as a client.
//
//     conformance client --command 'node conformance.mjs' --scenario tools_call --spec-version 2026-07-28
//
// GATEWAY   the gateway's program; RUNTIME: what it shall run on; PORTS: for clients and for its admin endpoint
// CLIENT    legacy or modern: the era we speak ourselves, if it isn't the scenario's
import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { load } from '../packages.mjs';

const { Client: Client1 } = load('@modelcontextprotocol/sdk/client/index.js');
const { StreamableHTTPClientTransport: Transport1 } = load('@modelcontextprotocol/sdk/client/streamableHttp.js');
const { ElicitRequestSchema } = load('@modelcontextprotocol/sdk/types.js');
const { Client: Client2, StreamableHTTPClientTransport: Transport2 } = load('@modelcontextprotocol/client');

const MODERN = '2026-07-28';
const {
    GATEWAY: program,
    RUNTIME: runtime = 'tokio',
    PORTS: ports = '8080,9901',
    MCP_CONFORMANCE_SCENARIO: scenario,
    MCP_CONFORMANCE_PROTOCOL_VERSION: version,
    MCP_CONFORMANCE_CONTEXT: context = '{}',
} = process.env;
const era = process.env.CLIENT ?? (version === MODERN ? 'modern' : 'legacy');

// What a client does in each scenario.
const scenarios = {
    initialize: ({ client }) => client.listTools(),
    'json-schema-ref-no-deref': ({ client }) => client.listTools(),
    'request-metadata': ({ client }) => client.listTools(),

    async tools_call({ client, call }) {
        const { tools } = await client.listTools();
        await call(tools[0].name, { a: 2, b: 3 });
    },

    async 'elicitation-sep1034-client-defaults'({ client, call }) {
        const { tools } = await client.listTools();
        await call(tools[0].name);
    },

    async 'sse-retry'({ client, call }) {
        await client.listTools();
        await call('test_reconnection');
    },

    async 'sep-2322-client-request-state'({ client, call, between }) {
        await client.listTools();
        // Another call goes out between the question and the answer to it.
        between(() => call('test_mrtr_unrelated'));
        await call('test_mrtr_echo_state');
        await call('test_mrtr_no_state');
        // The 2.x SDK takes no result for complete that doesn't say so; the suite looks whether the call is repeated.
        await call('test_mrtr_no_result_type').catch(error => console.error(`refused: ${error.message}`));
    },

    async 'http-standard-headers'({ client, call }) {
        const { tools } = await client.listTools();
        for (const { name } of tools) await call(name);
        const { resources } = await client.listResources();
        for (const { uri } of resources) await client.readResource({ uri });
        const { prompts } = await client.listPrompts();
        for (const { name } of prompts) await client.getPrompt({ name });
    },

    async 'http-custom-headers'({ client, call }) {
        await client.listTools();
        for (const { name, arguments: given } of JSON.parse(context).toolCalls) await call(name, given);
    },

    // Every tool that is listed is called.
    async 'http-invalid-tool-headers'({ client, call }) {
        const { tools } = await client.listTools();
        for (const { name, inputSchema } of tools) {
            const given = Object.keys(inputSchema.properties).map(key => [key, 'eu']);
            await call(name, Object.fromEntries(given));
        }
    },

    async 'json-schema-2020-12-preservation'({ client, call }) {
        const { tools } = await client.listTools();
        const { inputSchema } = tools.find(({ name }) => name === 'json_schema_2020_12_tool');
        await call('json_schema_echo', { schema: inputSchema });
    },
};

async function open(url) {
    let between = async () => {};
    const answer = async ({ params }) => {
        await between();
        between = async () => {};
        return { action: 'accept', content: filled(params.requestedSchema) };
    };
    const info = { name: 'conformance-client', version: '1.0.0' };
    const capabilities = { elicitation: {}, sampling: {}, roots: {} };
    let client;
    if (era === 'modern') {
        client = new Client2(info, { capabilities, versionNegotiation: { mode: { pin: MODERN } } });
        client.setRequestHandler('elicitation/create', answer);
        await client.connect(new Transport2(new URL(url)));
    } else {
        client = new Client1(info, { capabilities });
        client.setRequestHandler(ElicitRequestSchema, answer);
        await client.connect(new Transport1(new URL(url)));
    }
    return {
        client,
        call: (name, given = {}) => client.callTool({ name, arguments: given }),
        between: does => (between = does),
    };
}

// A user who takes what the form offers, and says yes to the rest.
function filled({ properties }) {
    return Object.fromEntries(Object.entries(properties).map(([name, field]) => [name, field.default ?? true]));
}

// Starts the gateway before `url` and says where it is.
async function before(url) {
    const [port, admin] = ports.split(',');
    const settings = fileURLToPath(new URL('../patient.yaml', import.meta.url));
    const listen = ['--listen', `127.0.0.1:${port}`, '--admin', `127.0.0.1:${admin}`, '--settings', settings];
    const gateway = spawn(program, [...listen, '--workers', '2', '--runtime', runtime, '--target', `a=${url}`], {
        stdio: ['ignore', 'ignore', 'inherit'],
    });
    process.on('exit', () => gateway.kill());
    gateway.on('exit', code => (console.error(`the gateway left with ${code}`), process.exit(1)));
    while (!(await fetch(`http://127.0.0.1:${admin}/readyz`).then(({ ok }) => ok, () => false))) await sleep(20);
    return `http://127.0.0.1:${port}/mcp`;
}

const url = process.argv.at(-1);
const session = await open(program ? await before(url) : url);
await scenarios[scenario](session);
await session.client.close();
process.exit();
