import { describeObjective } from '@espalier/testkit';
import { distillObjective } from './objective';

describeObjective(distillObjective());
describeObjective(distillObjective({ beta: 0.2, temperature: 0.9, entropy: true }), { title: 'objective "distill" with entropy' });
