// Runs checks one after another, a line for each, and leaves with their verdict.
import { setTimeout as sleep } from 'node:timers/promises';

// Only what fails takes so long, however busy the machine is.
const ONE = 60_000;
const ALL = 600_000;

export async function run(checks) {
    setTimeout(() => {
        console.log(`FAILED: not done after ${ALL / 1000} s`);
        process.exit(1);
    }, ALL).unref();
    let failed = 0;
    for (const [name, check] of Object.entries(checks)) {
        const started = Date.now();
        try {
            await within(ONE, check());
            console.log(`ok ${name} (${Date.now() - started} ms)`);
        } catch (error) {
            failed++;
            console.log(`FAILED ${name}: ${error.stack}`);
        }
    }
    console.log(`${Object.keys(checks).length - failed} passed, ${failed} failed`);
    process.exit(failed ? 1 : 0);
}

export function within(milliseconds, promise) {
    return Promise.race([
        promise,
        sleep(milliseconds, undefined, { ref: false }).then(() => {
            throw new Error(`nothing came within ${milliseconds} ms`);
        }),
    ]);
}

// What arrives by itself: everything seen so far, and a way to wait for one that fits.
export class Inbox {
    #seen = [];
    #waiting = [];

    push(message) {
        this.#seen.push(message);
        this.#waiting = this.#waiting.filter(({ fits, done }) => !fits(message) || done(message));
    }

    has(fits) {
        return this.#seen.some(fits);
    }

    all(fits) {
        return this.#seen.filter(fits);
    }

    // The first message that fits, among those seen or those to come.
    wait(fits) {
        const seen = this.#seen.find(fits);
        if (seen !== undefined) return Promise.resolve(seen);
        return within(ONE / 2, new Promise(done => this.#waiting.push({ fits, done: message => void done(message) })));
    }

    clear() {
        this.#seen = [];
    }
}
