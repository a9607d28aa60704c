import type { Command } from 'commander';
import { doctorCommand } from './doctor';
import { generateCommand } from './generate';
import { evalCommand } from './eval';
import { grpoCommand } from './grpo';
import { scoreCommand } from './score';

/** Every command, made anew: commander keeps what it parsed. */
export function commands(): Command[] {
  return [doctorCommand(), generateCommand(), scoreCommand(), grpoCommand(), evalCommand()];
}
