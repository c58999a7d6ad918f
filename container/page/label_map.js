/* Class names from the model's label map. Without one, the page shows class numbers. */

const TOKEN = /"((?:[^"\\\n]|\\.)*)"|'((?:[^'\\\n]|\\.)*)'|[\w.+-]+|[{}<>[\]]|#[^\n]*/g;
const ESCAPE = /\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|(.))/gs;
const CONTROL = {n: '\n', t: '\t', r: '\r'};
const FIELDS = ['id', 'name', 'display_name'];

export async function load_class_names() {
    try {
        const response = await fetch('/page/label_map.pbtxt');
        return response.ok ? parse(await response.text()) : new Map();
    } catch (e) {
        return new Map();
    }
}

/* Maps ids to names for entries like item { id: 1 name: 'Abyssinian' }; prefers display_name. */
function parse(text) {
    const names = new Map();
    let depth = 0;
    let item = {};
    let key = '';
    const assign = (value) => {
        if (depth === 1 && FIELDS.includes(key)) { // Ignores fields of nested messages.
            item[key] = value;
        }
        key = '';
    };
    for (const [token, double_quoted, single_quoted] of text.matchAll(TOKEN)) {
        if (token.startsWith('#')) {
            continue;
        }
        const quoted = double_quoted ?? single_quoted;
        if (quoted !== undefined) {
            assign(unescape(quoted));
        } else if ('{<['.includes(token)) {
            item = depth++ ? item : {};
            key = '';
        } else if ('}>]'.includes(token)) {
            if (--depth === 0 && item.id !== undefined) {
                names.set(Number(item.id), item.display_name || item.name);
            }
        } else if (key) {
            assign(token);
        } else {
            key = token;
        }
    }
    return names;
}

/* Works on UTF-8 bytes, because protobuf escapes é as its two bytes \303\251. */
function unescape(quoted) {
    const bytes = String.fromCharCode(...new TextEncoder().encode(quoted));
    const unescaped = bytes.replace(ESCAPE, (_, octal, hex, letter) => letter ?
        CONTROL[letter] || letter : String.fromCharCode(parseInt(octal || hex, octal ? 8 : 16)));
    return new TextDecoder().decode(Uint8Array.from(unescaped, (byte) => byte.charCodeAt(0)));
}
