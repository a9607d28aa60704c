// Who takes part: processes of Espalier and of its peers, with about the memory that each takes.
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('..', import.meta.url));

/** A process of ours: `work/NAME.mjs` on the built packages. */
export const espalier = (context, name, work, options, more = {}) => ({ name, command: process.execPath, args: [join(here, 'work', `${work}.mjs`), JSON.stringify({ model: context.model, ...options })], gigabytes: 3.5, ...more });

/** A process of a peer's: `peers/NAME.py` in the virtual environment. Null where the peers are not here. */
const peer = (context, name, script, options, more) => (context.python ? { name, command: context.python, args: [join(here, 'peers', `${script}.py`), JSON.stringify({ model: context.peerModel, ...options })], env: { HF_HUB_OFFLINE: '1', TOKENIZERS_PARALLELISM: 'false', TRANSFORMERS_VERBOSITY: 'error' }, gigabytes: 4.5, ...more } : null);

export const torch = (context, how, options, more) => peer(context, `PyTorch ${hows[how]}`, 'torch_peer', { ...options, how }, more);
export const trl = (context, algorithm, how, more) => peer(context, `TRL ${hows[how]}`, 'trl_peer', { algorithm, how }, { gigabytes: 5.5, ...more });

/** How a peer was set up, in words. */
const hows = { autocast: 'bf16 autocast', bfloat16: 'bf16 weights', medium: "fp32 'medium'", float32: 'fp32' };

/** The contestants that are here. */
export const present = (list) => list.filter((contestant) => contestant !== null);
