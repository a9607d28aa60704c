import { EspalierError, type OutputOptions } from '@espalier/spec';
import { attendCausally, createDecoder, openCheckpoint, type Checkpoint, type Decoder, type Tokenizer } from '@espalier/models';
import { embedding, offTape, tidy, tokenDivergence, type Tensor } from '@espalier/tensor';
import { positionsOf, predictorsOf } from './layout';
import type { BatchPart } from './protocol';

/** A frozen model beside the one that is trained, of the same vocabulary: what it is distilled from. */
export class Teacher {
  private constructor(
    readonly decoder: Decoder,
    readonly tokenizer: Tokenizer,
  ) {}

  /** @throws EspalierError `bad_config` when it speaks another vocabulary than the student; as `openCheckpoint` */
  static async open(model: string, student: Checkpoint): Promise<Teacher> {
    const checkpoint = await openCheckpoint(model);
    try {
      checkVocabulary(student, checkpoint);
      return new Teacher(createDecoder(checkpoint.config, checkpoint, { trainable: false }), checkpoint.hasTokenizer ? checkpoint.tokenizer : student.tokenizer);
    } finally {
      checkpoint.close();
    }
  }

  /**
   * The divergence of the student's next-token distributions from the teacher's, differentiable by the student.
   * @param predicting the student's hidden states that predict the actions, `[A, D]`
   * @param weight the student's head, `[V, D]`
   * @returns `[A]`
   */
  divergence(part: BatchPart, predicting: Tensor, weight: Tensor, options: OutputOptions['teacherDivergence'], temperature: number): Tensor {
    const { decoder } = this;
    const hidden = offTape(() => tidy(() => embedding(decoder.hidden(part.tokens, positionsOf(part), attendCausally(decoder.config, { offsets: part.offsets, prefixOf: part.prefixOf })), predictorsOf(part)))); // [A, E]
    return tokenDivergence(predicting, weight, hidden, decoder.lmHead().weight, { temperature, ...options });
  }
}

function checkVocabulary(student: Checkpoint, teacher: Checkpoint): void {
  const refuse = (what: string): never => {
    throw new EspalierError('bad_config', `the teacher ${teacher.reference} speaks another vocabulary than the student ${student.reference}: ${what}`, { fix: 'a teacher and a student of one family, whose token ids mean the same' });
  };
  const [own, other] = [student.config.vocabSize, teacher.config.vocabSize];
  if (own !== other) refuse(`${other} entries and not ${own}`);
  if (!student.hasTokenizer || !teacher.hasTokenizer) return;
  for (let id = 0; id < own; id++) {
    const [a, b] = [student.tokenizer.idToToken(id), teacher.tokenizer.idToToken(id)];
    if (a !== b) refuse(`token ${id} is ${JSON.stringify(b ?? null)} there and ${JSON.stringify(a ?? null)} here`);
  }
}
