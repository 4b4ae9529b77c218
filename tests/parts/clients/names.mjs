// What one target's names are called by the clients of the gateway. Alone, a target keeps its names.

export class Names {
    constructor(target) {
        this.target = target;
    }

    // Tools and prompts.
    of(name) {
        return this.target ? `${this.target}_${name}` : name;
    }

    // Resources and templates.
    uri(uri) {
        return this.target ? `${this.target}+${uri}` : uri;
    }
}
