/* Text into the clipboard, also where the page came by plain HTTP from another machine, which browsers
   give no clipboard. */

export async function copy(text) {
    if (navigator.clipboard) {
        return navigator.clipboard.writeText(text);
    }
    const area = document.createElement('textarea');
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    if (!done) {
        throw new Error('the browser did not copy it');
    }
}
