import { Random } from '@espalier/data';
import { EspalierError, type Message } from '@espalier/spec';
import type { CorpusTokenizer } from '../corpus-questions';
import { segmentSentences } from './segments';

export interface SegmentQuestionsOptions {
  /** Questions for the next sentence in each text. Default 1. */
  positionsPerText?: number;
  /** Tokens before the position, at least and at most. Defaults 16 and 512. */
  minContext?: number;
  maxContext?: number;
  /** Sentences that a prediction may cover. Default 3. */
  segmentsAhead?: number;
  /** Questions for a missing sentence, for each one for the next. Default 0.5. */
  middleLambda?: number;
  /** The question for the next sentence; `{context}` stands for the text before it. */
  template?: string;
  /** The question for a missing one; `{following}` stands for the sentence after it. */
  middleTemplate?: string;
  format?: 'messages' | 'text';
  /** How a text becomes segments. Default: {@link segmentSentences}. */
  segment?: (text: string) => readonly string[];
  seed?: number;
}

/** A question for a segment of a text: `prompt`, and what rewards on segments read. */
export interface SegmentQuestion {
  [column: string]: unknown;
  prompt: string | Message[];
  /** `asr`: the next segment, from those before it; `msr`: a missing one, from those around it. */
  kind: 'asr' | 'msr';
  context: string;
  /** What may be predicted: the true segment, for `asr` with those after it. */
  segments: string[];
}

const nextTemplate = 'Continue the text. Think about what comes next, then write </think> and the next sentence.\n\n{context}';
const missingTemplate = 'A sentence is missing from the text. Think about what it says, then write </think> and the sentence.\n\n{context}\n[missing]\n{following}';

/**
 * Texts as questions for segments (Li et al. 2025, 2509.19249): autoregressive segment reasoning asks for s_i given s_<i, middle segment reasoning for s_i given
 * s_<i and s_{i+1}. J = ASR + λ · MSR is a mixture: for one question of the first kind there are λ of the second, which no algorithm's scaling of rewards undoes.
 * @throws EspalierError `bad_config` for a template without its places
 */
export async function* segmentQuestions(texts: Iterable<string> | AsyncIterable<string>, tokenizer: CorpusTokenizer, options: SegmentQuestionsOptions = {}): AsyncGenerator<SegmentQuestion> {
  const { positionsPerText = 1, minContext = 16, maxContext = 512, segmentsAhead = 3, middleLambda = 0.5, template = nextTemplate, middleTemplate = missingTemplate, format = 'messages', segment = segmentSentences, seed = 0 } = options;
  if (!template.includes('{context}')) throw new EspalierError('bad_config', '`question_template` does not contain {context}');
  if (!middleTemplate.includes('{context}') || !middleTemplate.includes('{following}')) throw new EspalierError('bad_config', '`middle_template` does not contain {context} and {following}');
  const asked = (content: string) => (format === 'messages' ? [{ role: 'user', content }] : content);
  let document = 0;
  for await (const text of texts) {
    const segments = segment(text);
    const random = new Random(seed, document++);
    const places = contexts(segments, tokenizer, minContext, maxContext);
    const order = [...random.permutation(places.length)].map((i) => places[i]);
    for (const { at, context } of order.slice(0, positionsPerText)) {
      yield { prompt: asked(template.replace('{context}', () => context)), kind: 'asr', context, segments: segments.slice(at, at + segmentsAhead) };
    }
    for (const { at, context } of [...order].reverse().filter(({ at: i }) => i + 1 < segments.length).slice(0, positionsPerText)) {
      if (random.uint32() / 2 ** 32 >= middleLambda) continue;
      const content = middleTemplate.replace('{context}', () => context).replace('{following}', () => segments[at + 1]);
      yield { prompt: asked(content), kind: 'msr', context, segments: [segments[at]] };
    }
  }
}

/** The places with enough text before them, each with as many whole segments as fit. */
function contexts(segments: readonly string[], tokenizer: CorpusTokenizer, minContext: number, maxContext: number): { at: number; context: string }[] {
  const lengths = segments.map((segment) => tokenizer.encode(segment, { addSpecialTokens: false }).length);
  const places: { at: number; context: string }[] = [];
  for (let at = 1; at < segments.length; at++) {
    let start = at;
    let tokens = 0;
    while (start > 0 && tokens + lengths[start - 1] <= maxContext) tokens += lengths[--start];
    if (tokens >= minContext && start < at) places.push({ at, context: segments.slice(start, at).join(' ') });
  }
  return places;
}
