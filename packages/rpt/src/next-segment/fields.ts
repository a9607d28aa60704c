import { z } from 'zod';
import { corpusFields, optional, questionFields } from '../corpus/fields';

const segmentRewards = ['judge', 'similarity'] as const;

export const nextSegmentFields = {
  ...corpusFields,
  ...questionFields,
  segmentReward: z.enum(segmentRewards).default('similarity').describe('a judge says whether the prediction is a semantic prefix of the next segments; or their words are compared'),
  segmentJudge: optional(z.string().min(1)).describe("the judge's model: a folder, a file or a hub id"),
  segmentsAhead: z.int().positive().default(3).describe('sentences after the position that a prediction may cover'),
  middleLambda: z.number().min(0).lt(1).default(0.5).describe('weight of the questions that ask for a missing sentence (MSR) beside those that ask for the next one (ASR): as their number'),
  middleTemplate: optional(z.string().min(1)).describe('the question for a missing sentence; {context} and {following} stand for what is around it'),
} as const;
