/* The names of the model's classes, from the label map it brings. Without one, numbers must do. */

const TOKEN = /"((?:[^"\\\n]|\\.)*)"|'((?:[^'\\\n]|\\.)*)'|[\w.+-]+|[{}<>[\]]|#[^\n]*/g;
const ESCAPE = /\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|(.))/gs;
const MEANT = {n: 10, t: 9, r: 13};

export async function names() {
    try {
        const response = await fetch('/page/label_map.pbtxt');
        return response.ok ? parse(await response.text()) : new Map();
    } catch (e) {
        return new Map();
    }
}

/* item { id: 1 name: 'Abyssinian' }: names by number; a display_name is preferred. */
export function parse(text) {
    const found = new Map();
    let depth = 0;
    let item = {};
    let key = '';
    for (const [token, double, single] of text.matchAll(TOKEN)) {
        const quoted = double === undefined ? single : double;
        if (quoted !== undefined) {
            set(item, key, unescaped(quoted), depth);
        } else if ('{<['.includes(token)) {
            item = depth++ ? item : {};
        } else if ('}>]'.includes(token)) {
            if (--depth === 0 && item.id !== undefined) {
                found.set(Number(item.id), item.display_name || item.name);
            }
        } else if (!token.startsWith('#')) {
            set(item, key, token, depth);
            key = token;
        }
    }
    return found;
}

/* Of the item itself, not of what is nested in it. */
function set(item, key, value, depth) {
    if (depth === 1 && ['id', 'name', 'display_name'].includes(key)) {
        item[key] = value;
    }
}

/* Protobuf writes é as \303\251, the bytes of its UTF-8. */
function unescaped(text) {
    const bytes = [];
    const add = (part) => bytes.push(...new TextEncoder().encode(part));
    let end = 0;
    for (const escape of text.matchAll(ESCAPE)) {
        add(text.slice(end, escape.index));
        end = escape.index + escape[0].length;
        const [, octal, hexadecimal, letter] = escape;
        if (octal || hexadecimal) {
            bytes.push(parseInt(octal || hexadecimal, octal ? 8 : 16));
        } else if (letter in MEANT) {
            bytes.push(MEANT[letter]);
        } else {
            add(letter);
        }
    }
    add(text.slice(end));
    return new TextDecoder().decode(new Uint8Array(bytes));
}
