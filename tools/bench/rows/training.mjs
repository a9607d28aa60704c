// Training steps: SFT beside PyTorch and TRL, DPO and GRPO beside TRL; the first step; LoRA; gradient checkpointing; threads.
import { alternate } from '../lib/child.mjs';
import { espalier, present, torch, trl } from '../lib/contestants.mjs';
import { check, fastest, gigabytes, ratio, seconds, secondsOf } from '../lib/stats.mjs';

const stepTable = (results) => ({
  header: ['', 'median (spread)', 'first step', 'peak memory'],
  rows: [...results].map(([name, result]) => [name, result.error ? 'failed' : seconds(secondsOf(result)), result.ready?.first ? `${result.ready.first.toFixed(2)} s` : '', gigabytes(result.end?.peak)]),
});
const named = (results, prefix) => [...results.keys()].filter((name) => name.startsWith(prefix));
const versionsOf = (results) => Object.assign({}, ...[...results.values()].map(({ ready }) => ready?.versions ?? {}));
const against = (name, best) => (best ? `against ${best.name}` : `no ${name} here`);

export const sft = {
  id: 'sft',
  title: 'SFT step, 8 × 128 tokens, full fine-tuning',
  async run(context) {
    const { rounds, log, verbose, precision, peerHows } = context;
    const best = await alternate(
      present([
        espalier(context, `Espalier ${precision}`, 'step', { precision }),
        espalier(context, `Espalier ${precision}, checkpointing`, 'step', { precision, gradientCheckpointing: true }, { gigabytes: 3 }),
        espalier(context, `Espalier SFTTrainer ${precision}`, 'trainer', { algorithm: 'sft', precision }),
        ...peerHows.flatMap((how) => [torch(context, how, { work: 'train' }), trl(context, 'sft', how)]),
      ]),
      { rounds, log, verbose },
    );
    const besides = present([torch(context, 'medium', { work: 'train' }), ...(precision === 'fp32' ? [] : [espalier(context, 'Espalier fp32', 'step', { precision: 'fp32' }), torch(context, 'float32', { work: 'train' })])]);
    const all = new Map([...best, ...(await alternate(besides, { rounds: Math.max(2, rounds - 2), log, verbose }))]);
    const own = secondsOf(all.get(`Espalier ${precision}`));
    const checkpointed = secondsOf(all.get(`Espalier ${precision}, checkpointing`));
    const bestTorch = fastest(all, named(all, 'PyTorch'));
    const bestTrl = fastest(all, named(all, 'TRL'));
    const fullTorch = fastest(all, ['PyTorch fp32']);
    const gb = (name) => { const peak = all.get(name)?.end?.peak; return peak ? peak / 1e9 : null; };
    return {
      table: stepTable(all),
      versions: versionsOf(all),
      checks: [
        check('times faster than the best of PyTorch', ratio(bestTorch?.seconds, own), 2, { unit: '×', note: against('PyTorch', bestTorch) }),
        check("times faster than TRL's best, by our SFTTrainer", ratio(bestTrl?.seconds, secondsOf(all.get(`Espalier SFTTrainer ${precision}`))), 4, { unit: '×', note: against('TRL', bestTrl) }),
        check('peak memory at that speed', gb(`Espalier ${precision}`), 3.5, { unit: ' GB', most: true }),
        check('peak memory with gradient checkpointing', gb(`Espalier ${precision}, checkpointing`), 2.9, { unit: ' GB', most: true }),
        check('more time with gradient checkpointing', own && checkpointed ? 100 * (checkpointed.median / own.median - 1) : null, 35, { unit: ' %', most: true, digits: 0 }),
        check("in fp32, times as fast as PyTorch's fp32", ratio(fullTorch?.seconds, secondsOf(all.get('Espalier fp32'))), 1, { unit: '×' }),
      ],
    };
  },
};

const rl = (id, title, algorithm, own = {}) => ({
  id,
  title,
  async run(context) {
    const { rounds, log, verbose, precision, peerHows } = context;
    const usual = `Espalier ${precision}`;
    const ours = Object.entries({ '': {}, ...own }).map(([name, options]) => espalier(context, usual + name, 'trainer', { algorithm, precision, ...options }, { gigabytes: 4.5 }));
    const results = await alternate(present([...ours, ...peerHows.map((how) => trl(context, algorithm, how, { gigabytes: 6.5 }))]), { rounds, log, verbose });
    const best = fastest(results, named(results, 'TRL'));
    const lengths = (results.get(usual).answers[0] ?? []).map(({ meanLength }) => meanLength).filter((length) => length !== undefined);
    return {
      table: stepTable(results),
      versions: versionsOf(results),
      ...(lengths.length > 0 ? { note: `Completions of ours had ${(lengths.reduce((a, b) => a + b) / lengths.length).toFixed(1)} tokens in the mean; both sides stop at the end of a turn.` } : {}),
      checks: [check("times faster than TRL's best", ratio(best?.seconds, secondsOf(results.get(usual))), 4, { unit: '×', note: against('TRL', best) })],
    };
  },
});
export const dpo = rl('dpo', 'DPO step, 4 pairs of at most 128 tokens', 'dpo');
export const grpo = rl('grpo', 'GRPO step, 1 prompt × 8 completions of at most 64 tokens, β 0.04', 'grpo', { ', int8 sampler': { samplerWeights: 'int8' } });

export const firstStep = {
  id: 'first-step',
  title: 'First step of a process, 8 × 128 tokens',
  async run(context) {
    const { log, verbose, precision } = context;
    const contestants = present([espalier(context, `Espalier ${precision}`, 'step', { precision, warm: 1 }), torch(context, precision === 'bf16' ? 'autocast' : 'float32', { work: 'train', warm: 1 })]);
    const firsts = Object.fromEntries(contestants.map(({ name }) => [name, []]));
    for (let round = 0; round < Math.min(3, context.rounds); round++) {
      for (const contestant of contestants) {
        const result = (await alternate([contestant], { rounds: 0, log, verbose })).get(contestant.name);
        if (result.ready) firsts[contestant.name].push({ seconds: result.ready.first });
        log(`  ${contestant.name}: ${result.ready?.first?.toFixed(2)} s`);
      }
    }
    const of = (name) => secondsOf({ error: null, answers: [firsts[name] ?? []] });
    const [own, torchs] = Object.keys(firsts);
    return {
      table: { header: ['', 'median (spread)'], rows: Object.keys(firsts).map((name) => [name, seconds(of(name))]) },
      checks: [check("PyTorch's first step, in ours", ratio(of(torchs), of(own)), 1, { unit: '×' })],
    };
  },
};

export const lora = {
  id: 'lora',
  title: 'LoRA (rank 16, all linear layers) against full fine-tuning',
  async run(context) {
    const { rounds, log, verbose } = context;
    const adapter = { rank: 16, alpha: 32, targets: 'all-linear' };
    const steps = await alternate([espalier(context, 'full', 'step', {}), espalier(context, 'LoRA', 'step', { lora: adapter }, { gigabytes: 2 })], { rounds, log, verbose });
    const decoding = await alternate([espalier(context, 'full', 'generate', {}, { gigabytes: 2, turns: [{ batch: 8 }] }), espalier(context, 'LoRA', 'generate', { lora: adapter }, { gigabytes: 2, turns: [{ batch: 8 }] })], { rounds, log, verbose });
    const { ready, end } = steps.get('LoRA');
    const state = ready && end ? end.tensorBytes - 4 * (ready.parameterCount + ready.trainableCount) : null; // beyond weights and adapter
    return {
      table: { header: ['', 'step', 'peak memory', 'generation, batch 8 × 64 tokens'], rows: ['full', 'LoRA'].map((name) => [name, seconds(secondsOf(steps.get(name))), gigabytes(steps.get(name).end?.peak), seconds(secondsOf(decoding.get(name)))]) },
      checks: [
        check('times faster than a full step', ratio(secondsOf(steps.get('full')), secondsOf(steps.get('LoRA'))), 1.3, { unit: '×' }),
        check("optimiser's state and gradients beside weights and adapter, in bytes a trained number", state === null ? null : state / ready.trainableCount, 8, { most: true, digits: 1, note: 'two fp32 moments are 8; nothing is kept for frozen weights' }),
        check('speed of generation, of the full model’s', ratio(secondsOf(decoding.get('full')), secondsOf(decoding.get('LoRA'))), 0.9, { unit: '×', note: 'bar of ours: nearly as fast' }),
      ],
    };
  },
};

export const threads = {
  id: 'threads',
  title: 'Threads: ESPALIER_NUM_THREADS and processors used',
  async run(context) {
    const { rounds, log, verbose, cores } = context;
    const counts = [...new Set([1, cores])];
    const results = await alternate(counts.map((n) => espalier(context, `${n} thread${n > 1 ? 's' : ''}`, 'step', { utilisation: true, warm: 1 }, { env: { ESPALIER_NUM_THREADS: String(n) } })), { rounds: Math.min(3, rounds), log, verbose });
    const used = (name) => { const answers = results.get(name).answers[0]; return answers.length > 0 ? answers.reduce((sum, { processors }) => sum + processors, 0) / answers.length : null; };
    const all = `${cores} thread${cores > 1 ? 's' : ''}`;
    return {
      table: { header: ['', 'step', 'processors busy'], rows: counts.map((n) => { const name = `${n} thread${n > 1 ? 's' : ''}`; return [name, seconds(secondsOf(results.get(name))), used(name)?.toFixed(2) ?? '']; }) },
      checks: [
        check('processors busy during a step with all threads', used(all), 0.85 * cores, { note: `of ${cores}` }),
        check('processors busy with one thread', used('1 thread'), 1.15, { most: true, note: "the engine's thread and the caller's" }),
      ],
    };
  },
};
