/** What marks and names are called here. */
export const spelled: Readonly<Record<string, string>> = { cdot: '*', times: '*', ast: '*', div: '/', lbrace: '{', rbrace: '}', lvert: '|', rvert: '|', vert: '|', cdotp: '*', inf: 'infty', infinity: 'infty', asin: 'arcsin', acos: 'arccos', atan: 'arctan' };
const signs: Readonly<Record<string, string>> = { '×': '*', '·': '*', '⋅': '*', '÷': '/', '−': '-', '–': '-', '⁄': '/', '∕': '/', '²': '^2', '³': '^3' };

/** A mark of a formula; `space`: white space stands before it. */
export type Token = { kind: 'number' | 'name' | 'command' | 'sign'; text: string; space: boolean };

/** Marks of a formula; null for one that has others. */
export function tokenize(text: string): Token[] | null {
  const tokens: Token[] = [];
  let space = false;
  const source = text.replace(/[×·⋅÷−–⁄∕²³]/g, (mark) => signs[mark]).replace(/\*\*/g, '^');
  const pattern = /\s+|\\[,;:! ]|\\q?quad|~|\\(?:left|right|big|Big|bigg|Bigg|displaystyle|limits)(?![a-zA-Z])|(\d+(?:\.\d*)?(?:[eE][+-]?\d{1,4}(?![\d.a-zA-Z]))?|\.\d+(?:[eE][+-]?\d{1,4}(?![\d.a-zA-Z]))?)|\\([a-zA-Z]+|[%{}|])|([a-zA-Z]+)|([-+*/^_(){}[\]|!%√π∞°,])|([\s\S])/gy;
  for (const [whole, number, command, name, sign, other] of source.matchAll(pattern)) {
    if (other !== undefined) return null;
    const before: boolean = space;
    space = false;
    if (number !== undefined) tokens.push({ kind: 'number', text: number, space: before });
    else if (command !== undefined) {
      const known = spelled[command] ?? command;
      tokens.push(/^[a-zA-Z]+$/.test(known) ? { kind: 'command', text: known, space: before } : { kind: 'sign', text: known === '{' || known === '}' ? `\\${known}` : known, space: before });
    } else if (name !== undefined) tokens.push({ kind: 'name', text: name, space: before });
    else if (sign === '√' || sign === 'π' || sign === '∞') tokens.push({ kind: 'command', text: { '√': 'sqrt', 'π': 'pi', '∞': 'infty' }[sign], space: before });
    else if (sign === '°') continue;
    else if (sign !== undefined) tokens.push({ kind: 'sign', text: sign, space: before });
    else space = before || /\s/.test(whole);
  }
  return tokens;
}
