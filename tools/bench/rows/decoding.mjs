// Generation beside transformers and the limit of memory; the sampler against the trainer; start-up.
import { alternate } from '../lib/child.mjs';
import { espalier, present, torch } from '../lib/contestants.mjs';
import { check, fastest, median, ratio, secondsOf } from '../lib/stats.mjs';

const batches = [1, 8, 32];
const turns = batches.map((batch) => ({ batch }));

export const generate = {
  id: 'generate',
  title: 'Generation, 64 + 64 tokens, T = 1',
  async run(context) {
    const { rounds, log, verbose, peerHows } = context;
    // Memory takes its turn too: on a virtual machine it is half as fast for minutes at a time.
    const reads = espalier(context, 'memory', 'bandwidth', {}, { gigabytes: 1, turns: Array.from({ length: 5 }, () => ({})) });
    const results = await alternate(
      present([reads, espalier(context, 'Espalier', 'generate', {}, { gigabytes: 2, turns }), espalier(context, 'Espalier, int8 weights', 'generate', { samplerWeights: 'int8' }, { gigabytes: 2, turns }), ...[...new Set(['float32', ...peerHows])].filter((how) => how !== 'autocast').map((how) => torch(context, how, { work: 'generate' }, { gigabytes: 2, turns }))]),
      { rounds: Math.max(2, rounds - 2), log, verbose },
    );
    const peers = [...results.keys()].filter((name) => name.startsWith('PyTorch'));
    const own = results.get('Espalier');
    const weights = own.ready ? 2 * own.ready.parameterCount : null; // bf16, once through memory a step
    const rate = (result, i, key = 'perSecond') => (result.error || result.answers[i].length === 0 ? null : median(result.answers[i].map((answer) => answer[key])));
    const memory = results.get('memory');
    results.delete('memory');
    const bandwidths = memory.error || memory.answers.some((each) => each.length === 0) ? [] : memory.answers[0].map((_, round) => Math.max(...memory.answers.map((each) => each[round].bytesPerSecond)));
    const limit = (batch, bandwidth) => (bandwidth && weights ? (batch * bandwidth) / weights : null);
    // Of each round's own bandwidth.
    const share = (i) => (own.error || bandwidths.length === 0 ? null : median(own.answers[i].map(({ decodePerSecond }, round) => (100 * decodePerSecond) / limit(batches[i], bandwidths[round]))));
    const faster = (i) => { const best = fastest(results, peers, i); return [ratio(best?.seconds, secondsOf(own, i)), best]; };
    const [ratio8, best8] = faster(1);
    return {
      table: {
        header: ['tokens a second', ...batches.map((batch) => `batch ${batch}`)],
        rows: [
          ...[...results].map(([name, result]) => [name.replace('PyTorch', 'transformers'), ...batches.map((_, i) => rate(result, i)?.toFixed(1) ?? 'failed')]),
          ...['Espalier', 'Espalier, int8 weights'].map((name) => [`${name}, prompts left out`, ...batches.map((_, i) => rate(results.get(name), i, 'decodePerSecond')?.toFixed(1) ?? '')]),
          ['limit: bf16 weights once through memory', ...batches.map((batch) => limit(batch, bandwidths.length > 0 ? median(bandwidths) : null)?.toFixed(0) ?? '')],
        ],
      },
      note: bandwidths.length > 0 ? `Memory bandwidth, all threads reading: ${bandwidths.map((bandwidth) => (bandwidth / 1e9).toFixed(1)).join(', ')} GB/s (in each round the best of five passes over 512 MB). The share of the limit is that of the decoding steps, of the limit in their round (median); the times against transformers contain the prompts.` : 'The memory bandwidth could not be measured.',
      versions: Object.assign({}, ...peers.map((name) => results.get(name).ready?.versions ?? {})),
      checks: [
        check('batch 8: times faster than transformers.generate', ratio8, 6, { unit: '×', note: best8 ? `against ${best8.name}` : 'no transformers here' }),
        check('batch 8: of the bandwidth limit', share(1), 60, { unit: ' %', digits: 0 }),
        check('batch 32: tokens a second', rate(own, 2), 1500, { digits: 0 }),
        check('batch 1: of the bandwidth limit', share(0), 75, { unit: ' %', digits: 0 }),
      ],
    };
  },
};

export const mismatch = {
  id: 'mismatch',
  title: 'The sampler and the trainer agree: |Δ log-prob| of sampled tokens',
  async run(context) {
    const { log, verbose } = context;
    const lora = { rank: 16, alpha: 32, targets: 'all-linear' };
    const same = { bf16: { precision: 'bf16' }, fp32: { precision: 'fp32' }, 'bf16, LoRA': { precision: 'bf16', lora } };
    const rounded = { 'int8 sampler': { precision: 'bf16', samplerWeights: 'int8' }, 'int8 sampler, LoRA': { precision: 'bf16', samplerWeights: 'int8', lora } };
    const names = Object.keys({ ...same, ...rounded });
    const results = await alternate(
      Object.entries({ ...same, ...rounded }).map(([name, options]) => espalier(context, name, 'mismatch', options, { gigabytes: 2 })),
      { rounds: 1, log, verbose },
    );
    const of = (name, key) => results.get(name).answers[0]?.[0]?.[key] ?? null;
    return {
      table: { header: ['', 'mean', 'greatest', 'tokens'], rows: names.map((name) => [name, of(name, 'mean')?.toExponential(2) ?? 'failed', of(name, 'greatest')?.toExponential(2) ?? '', String(of(name, 'tokens') ?? '')]) },
      note: 'An int8 sampler has weights of its own: no bar holds for it. What a run measures of it stands in its metrics, `sampling/sampling_logp_difference/mean`.',
      checks: Object.keys(same).map((name) => check(`mean |Δ log-prob|, ${name}`, of(name, 'mean'), 1e-3, { most: true, digits: 6 })),
    };
  },
};

export const startup = {
  id: 'startup',
  title: 'Start-up to the first token, with the GGUF',
  async run(context) {
    const { log, verbose } = context;
    const parts = [['process start to first token', {}, 2.5], ['the tokenizer, in a fresh process', { tokenizer: true }, 0.5]];
    const found = new Map(parts.map(([name]) => [name, []]));
    for (let i = 0; i < Math.min(5, context.rounds); i++)
      for (const [name, options] of parts) {
        const result = (await alternate([espalier(context, name, 'startup', options, { gigabytes: 2 })], { rounds: 1, log, verbose })).get(name);
        found.get(name).push(...result.answers[0].map(({ seconds }) => seconds));
      }
    const middle = (name) => (found.get(name).length > 0 ? median(found.get(name)) : null);
    return {
      table: { header: ['', 'median', 'each'], rows: parts.map(([name]) => [name, middle(name) === null ? 'failed' : `${middle(name).toFixed(2)} s`, found.get(name).map((s) => s.toFixed(2)).join(', ')]) },
      checks: parts.map(([name, , bar]) => check(name, middle(name), bar, { unit: ' s', most: true })),
    };
  },
};
