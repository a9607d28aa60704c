import { parsePPOConfig, ppoConfig, PPOTrainer } from '@espalier/ppo';
import { z } from 'zod';
import { onlineCommand } from './online-command';

export const ppoCommand = () =>
  onlineCommand({
    name: 'ppo',
    summary: 'proximal policy optimisation with a critic, on rewards',
    config: ppoConfig.shape,
    more: { ptxDataset: z.string().min(1).optional().describe('rows of the language-model loss that --ptx-coef weighs') },
    shown: ['objective/scores', 'objective/kl', 'completions/mean_length', 'loss/policy_avg', 'loss/value_avg'],
    notes: '--max-steps counts batches of completions; each takes --num-ppo-epochs × --num-mini-batches optimiser steps.',
    check: (args) => void parsePPOConfig(args),
    create: (options, { ptxDataset }) => new PPOTrainer({ ...options, ...(ptxDataset === undefined ? {} : { ptxDataset: ptxDataset as string }) }),
  });
