// Runs the checks of `checks.json` in many cells: each a client of some kind before a server of some kind. What to run is
// read from the file that the program is called with:
//
//     {"cells": [{"name": "…", "sdk": 2, "mode": "auto", "transport": "http", "url": "…", "table": "fixture"}]}
//
// `transport` is http, sse or stdio, the last with `command`, `arguments` and `env` instead of `url`. A cell's lines are
// `era …`, then `ok …` or `FAIL …: why` for each check, all beginning with its name.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { within } from './checks.mjs';

// How many cells are busy at a time: two cores are shared with their servers.
const AT_ONCE = 6;
// Generous, since a server may have to start first, and two cores have much to do: only failures wait so long.
const ONE = 60_000;
const OPEN = 120_000;
// A cell where nothing comes any more isn't waited for check by check.
const PATIENCE = 2;

export const checks = JSON.parse(await readFile(new URL('checks.json', import.meta.url)));

// `open(cell)` gives an object with the methods that the checks' `do` names, `era` and `close()`. What it has no method
// for, or doesn't take (`takes(check)`), isn't checked.
export async function run(open, patience = ONE) {
    const { cells } = JSON.parse(await readFile(process.argv[2]));
    let failed = false;
    async function worker() {
        for (let cell = cells.shift(); cell !== undefined; cell = cells.shift()) {
            for await (const line of lines(cell, open, patience)) {
                failed ||= line.startsWith('FAIL');
                console.log(`${cell.name}\t${line.replaceAll('\n', ' ')}`);
            }
        }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    process.exit(failed ? 1 : 0);
}

async function* lines(cell, open, patience) {
    let client;
    try {
        client = await within(OPEN, open(cell));
    } catch (error) {
        yield `FAIL connect: ${error.message}`;
        return;
    }
    yield `era ${client.era}`;
    let silent = 0;
    for (const check of checks[cell.table]) {
        const known = client[check.do] !== undefined && (client.takes?.(check) ?? true);
        if (!known || !(check.eras ?? [client.era]).includes(client.era)) continue;
        try {
            await within(patience, checked(client, check, cell));
            yield `ok ${check.name}`;
        } catch (error) {
            yield `FAIL ${check.name}: ${error.message}`;
            if (/nothing came/.test(error.message) && ++silent === PATIENCE) {
                yield 'FAIL rest: given up';
                break;
            }
        }
    }
    try {
        await within(ONE, client.close());
    } catch (error) {
        yield `FAIL close: ${error.message}`;
    }
}

async function checked(client, check, cell) {
    let result;
    try {
        result = await client[check.do]({ ...check, arguments: given(check, cell) });
    } catch (error) {
        if (check.code === undefined) throw error;
        // What old clients may be told as well comes after what all are told.
        const codes = [check.code].flat().slice(0, client.era === 'modern' ? 1 : undefined);
        assert.ok(codes.includes(error.code), `another error: ${error.code} ${error.message}`);
        return;
    }
    assert.equal(check.code, undefined, 'no error came');
    for (const [expected, is] of Object.entries(EXPECTED)) {
        if (check[expected] !== undefined) is(result, check[expected]);
    }
}

// Where calls of several cells wait for one another, they go by a key.
function given({ key, arguments: given = {} }, { name }) {
    return key ? { ...given, key: name } : given;
}

const text = ({ content = [] }) => content.map(part => part.text ?? part.resource?.text ?? '').join('\n');
const includes = (all, some) => {
    for (const one of some) assert.ok(all.includes(one), `${one} in ${all}`);
};

// What a check can expect, and how it's found in what the client's method gave.
const EXPECTED = {
    has: ({ names }, has) => includes(names, has),
    text: (result, expected) => assert.equal(text(result), expected),
    contains: (result, part) => assert.ok(text(result).includes(part), `${part} in ${text(result)}`),
    isError: (result, expected) => assert.equal(result.isError, expected),
    kinds: ({ content }, kinds) => assert.deepEqual(content.map(({ type }) => type), kinds),
    structured: ({ structured }, keys) => includes(Object.keys(structured), keys),
    progress: ({ progress }, steps) => assert.deepEqual(progress.slice(0, steps.length), steps),
    logs: ({ logs }, logs_) => assert.deepEqual(logs, logs_),
    values: ({ values }, expected) => assert.deepEqual(values, expected),
    blob: ({ blob }, has) => assert.equal(blob !== undefined, has),
};
