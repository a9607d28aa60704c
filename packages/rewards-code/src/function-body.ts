/** Words after which a slash begins a regular expression, not a division. */
const beforeExpression = /(?:^|[^\w$.])(?:return|typeof|case|in|of|delete|void|throw|new|else|do|await|yield|instanceof)$/;

/**
 * Where the block ends that was opened before the text: the index of the brace that closes it, or −1. Strings, templates, comments and regular expressions are passed over.
 */
export function closingBrace(text: string): number {
  /** What is open: a brace of the program, or a `${` of a template. */
  const open: ('{' | '${')[] = ['{'];
  let at = 0;
  const skipTemplate = () => {
    for (; at < text.length; at++) {
      if (text[at] === '\\') at++;
      else if (text[at] === '`') return;
      else if (text[at] === '$' && text[at + 1] === '{') {
        open.push('${');
        at++;
        return;
      }
    }
  };
  for (; at < text.length; at++) {
    const character = text[at];
    if (character === '"' || character === "'") {
      for (at++; at < text.length && text[at] !== character && text[at] !== '\n'; at++) if (text[at] === '\\') at++;
    } else if (character === '`') {
      at++;
      skipTemplate();
    } else if (character === '/' && text[at + 1] === '/') {
      const end = text.indexOf('\n', at);
      if (end < 0) return -1;
      at = end;
    } else if (character === '/' && text[at + 1] === '*') {
      const end = text.indexOf('*/', at + 2);
      if (end < 0) return -1;
      at = end + 1;
    } else if (character === '/' && beginsExpression(text, at)) at = endOfRegExp(text, at);
    else if (character === '{') open.push('{');
    else if (character === '}') {
      if (open.pop() === '${') {
        at++;
        skipTemplate();
      } else if (open.length === 0) return at;
    }
  }
  return -1;
}

function beginsExpression(text: string, at: number): boolean {
  const before = text.slice(Math.max(0, at - 40), at).trimEnd();
  return before === '' || /[(,=:[!&|?{};+\-*%<>~^]$/.test(before) || beforeExpression.test(before);
}

/** The index of the slash that ends it; of the line's last character where there is none. */
function endOfRegExp(text: string, start: number): number {
  let inClass = false;
  let at = start + 1;
  for (; at < text.length && text[at] !== '\n'; at++) {
    if (text[at] === '\\') at++;
    else if (text[at] === '[') inClass = true;
    else if (text[at] === ']') inClass = false;
    else if (text[at] === '/' && !inClass) return at;
  }
  return at - 1;
}
