// Frames of a slider: the control that moves shows its picture, and the others go back to where they start.
document.addEventListener("input", ({ target }) => {
  const figure = target.closest("figure.frames");
  if (!figure) return;
  for (const input of figure.querySelectorAll("input")) {
    if (input !== target) input.value = input.dataset.start;
    input.nextElementSibling.value = JSON.parse(input.dataset.values)[input.value];
  }
  figure.querySelector("img").src = `${figure.dataset.folder}/${target.dataset.name}-${target.value}.webp`;
});
