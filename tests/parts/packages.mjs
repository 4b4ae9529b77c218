// Where the scripts of this folder find their packages: they are installed under target/parts, not beside the sources.
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';

const parts = process.env.PARTS ?? fileURLToPath(new URL('../../target/parts', import.meta.url));

export const load = createRequire(join(parts, 'package.json'));
