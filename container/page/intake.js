/* The ways in which files come: chosen, dropped anywhere on the page, pasted. */

export function chosen(input, add) {
    input.addEventListener('change', () => {
        add([...input.files]);
        input.value = ''; // the same file may be chosen again
    });
}

export function dropped(stage, add) {
    let depth = 0; // each element that is crossed is entered before the last one is left
    const mark = (by) => {
        depth = Math.max(0, by ? depth + by : 0);
        stage.classList.toggle('over', depth > 0);
    };
    document.addEventListener('dragenter', () => mark(1));
    document.addEventListener('dragleave', () => mark(-1));
    document.addEventListener('dragover', (event) => event.preventDefault()); // so that it may be dropped
    document.addEventListener('drop', (event) => {
        event.preventDefault(); // or the browser leaves the page for the file
        mark(0);
        add([...event.dataTransfer.files]);
    });
}

export function pasted(add) {
    document.addEventListener('paste', (event) => add([...event.clipboardData.files]));
}
