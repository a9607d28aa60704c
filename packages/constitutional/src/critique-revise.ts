import { hash32, Random } from '@espalier/data';
import { EspalierError, type CompleteOptions, type TextModel } from '@espalier/spec';
import { constitutionDigest, critiquePrinciples, type Constitution, type CritiquePrinciple } from './constitution';
import { drawDistinct } from './draw';
import { runRows, type RowJobOptions } from './row-job';
import { assistant, completionColumn, human, plainStops, promptTurns, renderTurns, type Prompt, type PromptFormat, type Turn } from './turns';

/** A prompt whose answer is to be criticised, with the answer when there is one already. */
export interface CritiqueItem {
  prompt: Prompt;
  answer?: string;
}

export interface CritiqueReviseOptions extends RowJobOptions {
  constitution: Constitution;
  /** Answers the prompts. Default: the critic. */
  policy?: TextModel;
  /** What the critic and the policy are, for the log and the rows: a path, a name. A log of other models is not resumed. */
  critic?: string;
  policyName?: string;
  /** Rounds of critique and revision, each by a principle that the row has not had. Default 4 (SL-CAI), or as many as there are principles. */
  numRevisions?: number;
  /** Only principles with one of these tags. */
  tags?: readonly string[];
  /** Default 1 (SL-CAI). */
  temperature?: number;
  /** In tokens. Defaults 256, 128, 256. */
  maxCompletionLength?: number;
  maxCritiqueLength?: number;
  maxRevisionLength?: number;
  /** Of the constitution's examples, how many stand before each question. Default: all. */
  fewShot?: number;
  /** Revise without a critique. Default false. */
  skipCritique?: boolean;
  /** Default `chat`. */
  format?: PromptFormat;
}

/** One round: the principle it was drawn for, and what came of it. */
export interface RevisionRound {
  principle: string;
  critique: string | null;
  revision: string;
}

/** A row as far as it got. */
export interface RevisedRow {
  index: number;
  prompt: Prompt;
  initial: string;
  rounds: RevisionRound[];
  seed: number;
  /** Why nothing of the row is used: an answer that could not be read. */
  excluded?: string;
}

type Role = 'answer' | 'critique' | 'revision';
const roleNumber: Record<Role, number> = { answer: 1, critique: 2, revision: 3 };

/**
 * The supervised stage of Constitutional AI (2212.08073, §3.1): the policy answers, the critic says by a random principle what is wrong with the answer and
 * writes a better one; again with another principle, `numRevisions` times. All rounds are kept. Answers and revisions that reach their length end with their last whole sentence. An empty answer, critique or revision
 * excludes the row, and so does a revision that repeats what an example of the constitution answered.
 *
 * What a row comes to depends on its number and the seed, not on its batch, so a job that was killed goes on with `resume` to the same rows.
 *
 * @throws EspalierError `bad_config` for too few principles, or a log of another job; `aborted`; what the models throw
 * @example
 * const revised = await critiqueRevise(model, [{ prompt: 'How do I get rid of moles?' }], { constitution: defaultConstitution, numRevisions: 2, log: 'runs/cai/critiques.jsonl', resume: true });
 * const rows = revisionRows(revised, { constitution: defaultConstitution });
 */
export async function critiqueRevise(critic: TextModel, items: readonly CritiqueItem[], options: CritiqueReviseOptions): Promise<RevisedRow[]> {
  const { constitution, policy = critic, tags, temperature = 1, maxCompletionLength = 256, maxCritiqueLength = 128, maxRevisionLength = 256, fewShot, skipCritique = false, format = 'chat', seed = 0, signal } = options;
  const principles = critiquePrinciples(constitution, tags);
  const numRevisions = options.numRevisions ?? Math.min(4, principles.length);
  if (!(Number.isInteger(numRevisions) && numRevisions >= 0)) throw new EspalierError('bad_config', `\`num_revisions\` is ${numRevisions}`, { fix: 'an integer from 0' });
  if (numRevisions > principles.length) throw new EspalierError('bad_config', `\`num_revisions\` is ${numRevisions}, and constitution "${constitution.name}" has ${principles.length} principles to criticise by`, { fix: `at most ${principles.length}: each round has a fresh one` });
  const shown = constitution.critiqueExamples.slice(0, fewShot);
  const examples = exampleTurns(shown);
  const lengths: Record<Role, number> = { answer: maxCompletionLength, critique: maxCritiqueLength, revision: maxRevisionLength };
  const ask = async (model: TextModel, role: Role, round: number, questions: readonly { index: number; prompt: Prompt }[]): Promise<string[]> => {
    if (questions.length === 0) return [];
    const settings: CompleteOptions = {
      maxNewTokens: lengths[role],
      temperature,
      wholeSentences: role !== 'critique',
      seeds: questions.map(({ index }) => hash32(seed, index, round, roleNumber[role])),
      ...(format === 'plain' ? { stop: plainStops } : {}),
      ...(signal ? { signal } : {}),
    };
    const texts = await model.complete(questions.map(({ prompt }) => prompt), settings);
    if (texts.length !== questions.length) throw new EspalierError('internal', `the model gave ${texts.length} answers to ${questions.length} prompts`);
    return texts.map((text) => text.trim());
  };

  const identity = { constitution: constitutionDigest(constitution), critic: options.critic, policy: options.policyName, numRevisions, tags, temperature, lengths, wholeSentences: true, fewShot: examples.length, skipCritique, format };
  return runRows('critique-revision', items, identity, options, async (batch) => {
    const rows = batch.map(({ index, item }): RevisedRow => ({ index, prompt: item.prompt, initial: item.answer?.trim() ?? '', rounds: [], seed }));
    const drawn = rows.map(({ index }) => drawDistinct(principles, numRevisions, new Random(seed, index, 0xca1)));
    const open = () => rows.filter(({ excluded }) => excluded === undefined);
    const unanswered = rows.filter((_, i) => batch[i].item.answer === undefined);
    const answers = await ask(policy, 'answer', 0, unanswered.map(({ index, prompt }) => ({ index, prompt: policyPrompt(prompt, format) })));
    unanswered.forEach((row, i) => (row.initial = answers[i]));
    for (const row of rows) if (row.initial === '') row.excluded = 'the answer is empty';

    for (let round = 1; round <= numRevisions; round++) {
      const current = open().map((row) => ({ row, principle: drawn[rows.indexOf(row)][round - 1], turns: [...examples, ...promptTurns(row.prompt), assistant(row.rounds.at(-1)?.revision ?? row.initial)] }));
      const critiques = skipCritique ? [] : await ask(critic, 'critique', round, current.map(({ row, principle, turns }) => ({ index: row.index, prompt: renderTurns([...turns, critiqueTurn(principle)], format, 'Critique') })));
      if (!skipCritique) current.forEach(({ row }, i) => critiques[i] === '' && (row.excluded = `round ${round}: the critique is empty`));
      const criticised = current.map((entry, i) => ({ ...entry, critique: skipCritique ? null : critiques[i] })).filter(({ row }) => row.excluded === undefined);
      const revisions = await ask(
        critic,
        'revision',
        round,
        criticised.map(({ row, principle, turns, critique }) => ({
          index: row.index,
          prompt: renderTurns([...turns, ...(critique === null ? [] : [critiqueTurn(principle), assistant(critique, 'Critique')]), human(principle.revisionRequest, 'Revision Request')], format, 'Revision'),
        })),
      );
      criticised.forEach(({ row, principle, critique }, i) => {
        if (revisions[i] === '') row.excluded = `round ${round}: the revision is empty`;
        else if (repeatsExample(revisions[i], row.rounds.at(-1)?.revision ?? row.initial, shown)) row.excluded = `round ${round}: the revision repeats what an example answered`;
        else row.rounds.push({ principle: principle.id, critique, revision: revisions[i] });
      });
    }
    return rows;
  });
}

const critiqueTurn = ({ critiqueRequest }: CritiquePrinciple): Turn => human(critiqueRequest, 'Critique Request');

/** What the policy is asked: the prompt alone. Plain text goes to it as it is, messages as the format says. */
export function policyPrompt(prompt: Prompt, format: PromptFormat): Prompt {
  return format === 'chat' || typeof prompt === 'string' ? prompt : renderTurns(promptTurns(prompt), format);
}

/** Small models fall back on the answer of an example, about something else, instead of revising the one that they were given. */
function repeatsExample(revision: string, before: string, examples: Constitution['critiqueExamples']): boolean {
  return examples.some(({ answer }) => {
    const said = answer.trim().split(/(?<=[.!?])\s/)[0];
    return said.length > 0 && revision.includes(said) && !before.includes(said);
  });
}

function exampleTurns(examples: Constitution['critiqueExamples']): Turn[] {
  return examples.flatMap((example) => [
    human(example.prompt),
    assistant(example.answer),
    human(example.critiqueRequest, 'Critique Request'),
    assistant(example.critique, 'Critique'),
    human(example.revisionRequest, 'Revision Request'),
    assistant(example.revision, 'Revision'),
  ]);
}

export interface RevisionRowsOptions {
  constitution: Constitution;
  /** `all`: a row for the revision of every round (SL-CAI); `last`: for that of the last one. Default `all`. */
  keep?: 'all' | 'last';
  /** Rows for the first answers too, those of excluded rows included, so that the model stays what it was where no principle speaks (SL-CAI adds samples of its own). Default false. */
  initial?: boolean;
  /** Column of every row that says what made it. */
  critic?: string;
  policyName?: string;
}

/** A row for supervised fine-tuning, with where it came from. */
export interface RevisionSFTRow extends Record<string, unknown> {
  prompt: Prompt;
  completion: ReturnType<typeof completionColumn>;
  provenance: {
    method: 'critique-revision';
    constitution: string;
    constitutionDigest: string;
    /** Number of the prompt's row. */
    row: number;
    /** 1 … : which revision the completion is; 0: the first answer. */
    round: number;
    initial: string;
    /** Up to and with this round. */
    rounds: readonly RevisionRound[];
    seed: number;
    critic?: string;
    policy?: string;
  };
}

/** Revisions as rows for supervised fine-tuning (`prompt`, `completion`), each with its full provenance. Excluded rows give none, or their first answer. */
export function revisionRows(revised: readonly RevisedRow[], options: RevisionRowsOptions): RevisionSFTRow[] {
  const { constitution, keep = 'all', initial: withInitial = false, critic, policyName } = options;
  const id = constitutionDigest(constitution);
  return revised.flatMap(({ index, prompt, initial, rounds, seed, excluded }) => {
    const row = (completion: string, round: number): RevisionSFTRow => ({
      prompt,
      completion: completionColumn(prompt, completion),
      provenance: { method: 'critique-revision', constitution: constitution.name, constitutionDigest: id, row: index, round, initial, rounds: rounds.slice(0, round), seed, ...(critic === undefined ? {} : { critic }), ...(policyName === undefined ? {} : { policy: policyName }) },
    });
    const revisions = excluded === undefined ? rounds.map(({ revision }, r) => row(revision, r + 1)).slice(keep === 'last' ? -1 : 0) : [];
    return withInitial && initial !== '' ? [row(initial, 0), ...revisions] : revisions;
  });
}

/** First answers and their last revisions as pairs for a judge to compare. Where a revision left the answer as it was, the pair is excluded. */
export function revisionPairs(revised: readonly RevisedRow[]): { prompt: Prompt; first: string; second: string; excluded?: string }[] {
  return revised.map(({ prompt, initial, rounds, excluded }) => {
    const second = rounds.at(-1)?.revision ?? initial;
    const why = excluded ?? (second === initial ? 'the revision leaves the answer as it was' : undefined);
    return { prompt, first: initial, second, ...(why === undefined ? {} : { excluded: why }) };
  });
}

/** What came of critique and revision, in numbers. */
export function revisionMetrics(revised: readonly RevisedRow[]): Record<string, number> {
  const used = revised.filter(({ excluded }) => excluded === undefined);
  const rounds = used.flatMap(({ initial, rounds }) => rounds.map(({ revision }, r) => ({ before: r === 0 ? initial : rounds[r - 1].revision, revision })));
  const mean = (values: readonly number[]) => (values.length === 0 ? NaN : values.reduce((a, b) => a + b, 0) / values.length);
  return {
    rows: revised.length,
    excluded: revised.length - used.length,
    revisions: rounds.length,
    /** Share of revisions that leave the answer as it was. */
    unchanged: mean(rounds.map(({ before, revision }) => (before === revision ? 1 : 0))),
    initial_characters: mean(used.map(({ initial }) => initial.length)),
    revised_characters: mean(used.filter(({ rounds }) => rounds.length > 0).map(({ rounds }) => rounds.at(-1)!.revision.length)),
  };
}
