// Prints every error and warning of an AsyncAPI document; exits with 1 when there is an error.
import { readFileSync } from 'node:fs';
import { Parser } from '@asyncapi/parser';

const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], 'utf8'));
for (const it of diagnostics) console.log(['error', 'warning', 'info', 'hint'][it.severity], it.path.join('.'), it.message);
if (!document || diagnostics.some((it) => it.severity === 0)) process.exit(1);
console.log(`${document.allChannels().length} channels, ${document.allOperations().length} operations`);
