import { defineAlgorithm, defineObjective, throwIfAborted } from '@espalier/spec';
/** The importance-weighted policy gradient: −A · exp(log p − log p_old) in the mean over tokens. */
const weighted = defineObjective({
    name: 'weighted',
    needs: ['logps'],
    coupling: 'token',
    evaluate({ logps }, { columns: { advantages, oldLogps }, normalizer }) {
        if (!logps?.every(Number.isFinite))
            throw new Error('weighted: a log-prob is missing or not finite');
        const tokens = Math.max(normalizer.tokens, 1);
        const ratios = logps.map((logp, a) => Math.exp(logp - oldLogps[a]));
        return {
            loss: ratios.reduce((sum, ratio, a) => sum - (advantages[a] * ratio) / tokens, 0),
            grads: { logps: ratios.map((ratio, a) => (-advantages[a] * ratio) / tokens) },
            metrics: { ratio: { sum: ratios.reduce((sum, ratio) => sum + ratio, 0), weight: ratios.length } },
        };
    },
});
function total({ rewards }, weights) {
    const scored = Object.entries(rewards).flatMap(([name, reward]) => (reward === null ? [] : [(weights[name] ?? 1) * (typeof reward === 'number' ? reward : reward.total)]));
    return scored.length === 0 ? null : scored.reduce((sum, reward) => sum + reward, 0);
}
/** Packs groups: the prompt of each is stored once, and every completion continues it. */
function pack(groups, advantages) {
    const tokens = [];
    const offsets = [0];
    const prefixOf = [];
    const actionIndex = [];
    const column = [];
    groups.forEach((group, g) => {
        const shared = Math.min(...group.map(({ trainable }) => Math.max(trainable.indexOf(1), 0)));
        const prefix = offsets.length - 1;
        tokens.push(...group[0].tokens.subarray(0, shared));
        offsets.push(tokens.length);
        prefixOf.push(-1);
        group.forEach((trajectory, k) => {
            for (let t = shared; t < trajectory.tokens.length; t++) {
                const advantage = advantages[g][k];
                if (trajectory.trainable[t] === 1 && advantage !== null) {
                    actionIndex.push(tokens.length);
                    column.push(advantage);
                }
                tokens.push(trajectory.tokens[t]);
            }
            offsets.push(tokens.length);
            prefixOf.push(prefix);
        });
    });
    return {
        tokens: Int32Array.from(tokens), offsets: Int32Array.from(offsets), prefixOf: Int32Array.from(prefixOf), actionIndex: Int32Array.from(actionIndex),
        columns: { advantages: Float32Array.from(column) }, normalizer: { tokens: column.length, sequences: groups.flat().length },
    };
}
/** The reward less the mean of its group, with log-probs of the policy that sampled taken from the learner. */
export function centredAlgorithm(_options = {}) {
    return defineAlgorithm({
        name: 'centred',
        objective: weighted,
        numIterations: 1,
        needsReference: false,
        async experience(groups, context) {
            const { step, learner, rewardWeights, maxCompletionLength, temperature, sampler, signal } = context;
            throwIfAborted(signal);
            const rewards = groups.map((group) => group.map((trajectory) => total(trajectory, rewardWeights)));
            const advantages = rewards.map((group) => {
                const scored = group.filter((reward) => reward !== null);
                const mean = scored.reduce((sum, reward) => sum + reward, 0) / Math.max(scored.length, 1);
                return group.map((reward) => (reward === null ? null : reward - mean));
            });
            const batch = pack(groups, advantages);
            batch.columns.oldLogps = (await learner.forward(batch, ['logps'], { signal, temperature })).logps;
            const lengths = groups.flat().map(({ trainable }) => trainable.reduce((sum, flag) => sum + flag, 0));
            const stale = groups.flat().filter(({ versions }) => versions.some(({ version }) => sampler !== undefined && version < sampler.version)).length;
            const metrics = {
                'completions/mean_length': lengths.reduce((sum, length) => sum + length, 0) / Math.max(lengths.length, 1),
                'completions/clipped_ratio': lengths.filter((length) => length >= maxCompletionLength).length / Math.max(lengths.length, 1),
                'centred/stale': stale, 'centred/step': step,
            };
            return { batch, metrics, advantages };
        },
    });
}
