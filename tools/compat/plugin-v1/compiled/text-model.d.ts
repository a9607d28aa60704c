import { type TextModel } from '@espalier/spec';
/** Says again what it was told last, with every option and method of the contract. */
export declare function parrotModel(options?: {
    suffix?: string;
}): Promise<TextModel>;
