import { type Tracker } from '@espalier/spec';
/** A line of JSON for everything that a tracker is told. */
export declare function diaryTracker(options?: {
    file?: string;
}): Tracker;
