import { z } from 'zod';
import { optional } from '../corpus/fields';

export const controlFields = {
  control: z.enum(['none', 'ce']).default('none').describe('train a matched control beside: the same rows and the same compute in tokens forward and backward, with cross-entropy'),
  controlLearningRate: optional(z.number().positive()).describe('learning rate of the control; default: that of the run'),
  controlColumn: optional(z.string().min(1)).describe("column that the control learns to answer with; default: `completion`, else `answer`; of a corpus its text"),
} as const;
