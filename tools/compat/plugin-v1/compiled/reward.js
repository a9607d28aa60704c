import { defineReward, EspalierError, throwIfAborted } from '@espalier/spec';
const textOf = (prompt) => (typeof prompt === 'string' ? prompt : prompt.map(({ role, content }) => `${role}: ${content}`).join('\n'));
/** Uses every field of a sample and of a context, gives every form of a reward, and keeps a count that a checkpoint saves. */
export function echoReward(options = {}) {
    const penalty = Number(options.penalty ?? 0.5);
    if (!Number.isFinite(penalty))
        throw new EspalierError('bad_config', `echo: \`penalty\` is ${String(options.penalty)}`, { fix: 'a number', cause: options });
    let seen = 0;
    const scoreOne = ({ prompt, completion, completionTokens, finishReason, row }) => {
        if (finishReason === 'aborted')
            return null;
        if (completion === '')
            return 0;
        const right = row.answer !== undefined && completion.includes(String(row.answer)) ? 1 : 0;
        const copied = textOf(prompt).includes(completion) ? 1 : 0;
        const perToken = new Float32Array(completionTokens.length).fill(0);
        if (perToken.length > 0)
            perToken[perToken.length - 1] = right;
        return { total: right - penalty * copied, perToken, components: { right, copied }, note: `cut off: ${finishReason === 'length'}` };
    };
    return defineReward({
        name: 'echo',
        async score(samples, { step, signal, log, evaluation }) {
            throwIfAborted(signal);
            if (!evaluation)
                seen += samples.length;
            log?.('echo/groups', new Set(samples.map(({ group }) => group)).size);
            log?.('echo/step', step);
            return samples.map(scoreOne);
        },
        state: () => ({ seen }),
        restore: (state) => void (seen = state.seen),
    });
}
