import { type Objective } from '@espalier/spec';
/** Σ w · ((log p − r)² / 2 − c · entropy + d · divergence) / tokens: three outputs, two columns, a coefficient, inert actions. */
export declare function pullObjective(options?: {
    entropyCoef?: number;
}): Objective;
/** −log σ(β (Σ chosen − Σ rejected)) in the mean over pairs: ragged sequences, shared prefixes, pairs. */
export declare function pairObjective({ beta }?: {
    beta?: number;
}): Objective;
