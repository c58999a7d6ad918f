/* Copies text. Over plain HTTP from another machine, browsers have no navigator.clipboard. */

export async function copy(text) {
    if (navigator.clipboard) {
        return navigator.clipboard.writeText(text);
    }
    const area = document.createElement('textarea');
    area.value = text;
    document.body.append(area);
    area.select();
    const copied = document.execCommand('copy');
    area.remove();
    if (!copied) {
        throw new Error('the browser did not copy the text');
    }
}
