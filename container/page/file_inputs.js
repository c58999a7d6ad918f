/* How files get into the page: file dialog, drag and drop, clipboard. */

export function on_choose(input, add) {
    input.addEventListener('change', () => {
        add([...input.files]);
        input.value = ''; // Otherwise choosing the same file again causes no event.
    });
}

/* Files can be dropped anywhere on the page. */
export function on_drop(viewer, add) {
    let depth = 0; // The pointer enters an element before it leaves the previous one.
    const set_depth = (value) => {
        depth = Math.max(0, value);
        viewer.classList.toggle('drop-target', depth > 0);
    };
    document.addEventListener('dragenter', () => set_depth(depth + 1));
    document.addEventListener('dragleave', () => set_depth(depth - 1));
    document.addEventListener('dragover', (event) => event.preventDefault()); // Allows the drop.
    document.addEventListener('drop', (event) => {
        event.preventDefault(); // Otherwise the browser opens the file.
        set_depth(0);
        add([...event.dataTransfer.files]);
    });
}

export function on_paste(add) {
    document.addEventListener('paste', (event) => add([...event.clipboardData.files]));
}
