import {
  cpoConfig, CPOTrainer, dpoConfig, DPOTrainer, ktoConfig, KTOTrainer, onlineDpoConfig, OnlineDPOTrainer, orpoConfig, ORPOTrainer, parseCPOConfig, parseDPOConfig, parseKTOConfig, parseOnlineDPOConfig, parseORPOConfig,
} from '@espalier/dpo';
import { z } from 'zod';
import { offlineCommand } from './offline-command';
import { onlineCommand } from './online-command';

const shown = ['loss', 'rewards/accuracies', 'rewards/margins', 'grad_norm'];
const pairs = 'Rows have `chosen` and `rejected`, text or messages, with or without `prompt`.';
const reference = { refModel: z.string().min(1).optional().describe("the reference; default: the policy's first weights") };
const refModelOf = ({ refModel }: Record<string, unknown>) => (refModel === undefined ? {} : { refModel: refModel as string });

export const dpoCommand = () =>
  offlineCommand({
    name: 'dpo', summary: 'direct preference optimisation and its relatives', config: dpoConfig.shape, more: reference, accepted: ['preference'], shown, notes: pairs,
    check: (args) => void parseDPOConfig(args),
    create: (options, values) => new DPOTrainer({ ...options, ...refModelOf(values) }),
  });

export const ktoCommand = () =>
  offlineCommand({
    name: 'kto', summary: 'Kahneman–Tversky optimisation: completions that are good or bad, unpaired', config: ktoConfig.shape, more: reference, accepted: ['unpaired_preference', 'preference'],
    shown: ['loss', 'rewards/chosen', 'rewards/rejected', 'kl'], notes: 'Rows have `prompt`, `completion` and `label`; pairs are taken apart.',
    check: (args) => void parseKTOConfig(args),
    create: (options, values) => new KTOTrainer({ ...options, ...refModelOf(values) }),
  });

export const cpoCommand = () =>
  offlineCommand({ name: 'cpo', summary: 'contrastive preference optimisation, SimPO and AlphaPO: no reference', config: cpoConfig.shape, accepted: ['preference'], shown, notes: pairs, check: (args) => void parseCPOConfig(args), create: (options) => new CPOTrainer(options) });

export const orpoCommand = () =>
  offlineCommand({ name: 'orpo', summary: 'odds-ratio preference optimisation: fine-tuning and preferences in one', config: orpoConfig.shape, accepted: ['preference'], shown, notes: pairs, check: (args) => void parseORPOConfig(args), create: (options) => new ORPOTrainer(options) });

export const onlineDpoCommand = () =>
  onlineCommand({
    name: 'online-dpo', summary: 'DPO on pairs that the policy samples and rewards rank', config: onlineDpoConfig.shape, shown: ['loss', 'objective/scores', 'rewards/accuracies', 'rewards/margins'],
    notes: '--per-device-train-batch-size counts prompts; --sync-ref-model makes it iterative.',
    check: (args) => void parseOnlineDPOConfig(args),
    create: (options) => new OnlineDPOTrainer(options),
  });
