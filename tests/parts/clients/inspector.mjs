// The cells of the Inspector's command line: node inspector.mjs CELLS.json, with `mode` legacy or modern in each.
import { execFile } from 'node:child_process';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { load } from '../packages.mjs';
import { run } from './cells.mjs';

const program = load.resolve('@modelcontextprotocol/inspector/clients/launcher/build/index.js');
const execute = promisify(execFile);
const folder = await mkdtemp(join(tmpdir(), 'inspector-'));

class Inspector {
    static #opened = 0;

    static async open({ mode, transport, url, command, arguments: args, env }) {
        const inspector = new Inspector();
        // Every call of the program is a session of its own.
        inspector.era = mode === 'modern' ? 'modern' : 'legacy';
        inspector.file = join(folder, `${Inspector.#opened++}.json`);
        const server = transport === 'stdio' ? { command, args, env: { ...process.env, ...env } } : { type: transport === 'sse' ? 'sse' : 'http', url };
        const config = { mcpServers: { server: { ...server, protocolEra: mode } } };
        await writeFile(inspector.file, JSON.stringify(config));
        return inspector;
    }

    async #ask(method, ...more) {
        const server = ['--cli', '--config', this.file, '--server', 'server', '--format', 'json'];
        // There is no key ring where tests run.
        const env = { ...process.env, MCP_INSPECTOR_SECRET_STORE: 'memory' };
        const { stdout } = await execute(process.execPath, [program, ...server, '--method', method, ...more], { env });
        return JSON.parse(stdout).result;
    }

    // Each of them starts the program anew, so it's few.
    takes({ name }) {
        return ['tools', 'call', 'read', 'prompt'].includes(name);
    }

    async list() {
        const { tools } = await this.#ask('tools/list');
        return { names: tools.map(({ name }) => name) };
    }

    async call({ tool, arguments: given }) {
        const args = Object.entries(given).flatMap(([name, value]) => ['--tool-arg', `${name}=${value}`]);
        const { content, structuredContent } = await this.#ask('tools/call', '--tool-name', tool, ...args);
        return { content, structured: structuredContent };
    }

    async get({ prompt, arguments: given }) {
        const args = Object.entries(given).map(([name, value]) => `${name}=${value}`);
        const { messages } = await this.#ask('prompts/get', '--prompt-name', prompt, '--prompt-args', ...args);
        return { content: messages.map(({ content }) => content) };
    }

    async read({ uri }) {
        const { contents } = await this.#ask('resources/read', '--uri', uri);
        return { content: contents };
    }

    async close() {}
}

// Every check starts a program.
await run(cell => Inspector.open(cell), 120_000);
