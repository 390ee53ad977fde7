// What mdBook's own page lacks: diagrams, a link past the menus, parts that the keyboard
// can scroll, and answers that are open on paper.
(() => {
  const html = document.documentElement;

  // The first stop of the keyboard.
  const main = document.querySelector("main");
  main.id ||= "content";
  main.tabIndex = -1;
  const skip = document.createElement("a");
  skip.href = `#${main.id}`;
  skip.className = "skip-link";
  skip.textContent = "Skip to the text";
  document.body.prepend(skip);

  document.getElementById("mdbook-menu-bar").setAttribute("role", "banner");
  document.getElementById("mdbook-search-wrapper").setAttribute("role", "search");
  document.getElementById("mdbook-searchbar").setAttribute("aria-label", "Search this book");
  document.querySelector(".nav-wide-wrapper").setAttribute("aria-label", "Previous and next chapter, beside the page");
  // mdBook has a label there, which the keyboard cannot reach.
  const label = document.getElementById("mdbook-sidebar-toggle");
  const box = document.getElementById(label.htmlFor);
  const toggle = document.createElement("button");
  for (const name of ["id", "class", "title", "aria-label", "aria-controls", "aria-expanded"]) {
    toggle.setAttribute(name, label.getAttribute(name));
  }
  toggle.append(...label.childNodes);
  toggle.addEventListener("click", () => {
    // What mdBook does at a click on its label, and what the label does.
    label.dispatchEvent(new Event("click"));
    box.click();
  });
  box.addEventListener("change", () => toggle.setAttribute("aria-expanded", box.checked));
  label.replaceWith(toggle);
  // The corner of a table is no heading.
  for (const th of document.querySelectorAll("main th")) {
    if (!th.textContent.trim()) th.replaceWith(document.createElement("td"));
  }
  // Two of mdBook's themes are measured and meant.
  document.getElementById("mdbook-theme-navy").textContent = "Dark";
  for (const name of ["rust", "coal", "ayu"]) document.getElementById(`mdbook-theme-${name}`).parentElement.remove();

  function scrollable() {
    for (const element of document.querySelectorAll("main pre, main pre code, .table-wrapper, .diagram")) {
      if (element.scrollWidth > element.clientWidth) element.tabIndex = 0;
      else element.removeAttribute("tabindex");
    }
  }
  addEventListener("resize", scrollable);
  document.addEventListener("toggle", scrollable, true);
  scrollable();

  const closed = [];
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("main details:not([open])")) {
      details.open = true;
      closed.push(details);
    }
  });
  addEventListener("afterprint", () => {
    for (const details of closed.splice(0)) details.open = false;
  });

  const diagrams = [...document.querySelectorAll("pre.mermaid")].map((pre) => {
    const figure = document.createElement("div");
    figure.className = "diagram";
    pre.before(figure);
    figure.append(pre);
    return { figure, text: pre.textContent };
  });
  if (!diagrams.length) return;

  const isDark = () => html.classList.contains("navy");
  let drawn;
  async function draw() {
    const dark = isDark();
    if (drawn === dark) return;
    drawn = dark;
    mermaid.initialize({
      startOnLoad: false,
      theme: dark ? "dark" : "default",
      fontFamily: "inherit",
      // Its own grey is too light below its text.
      themeVariables: dark ? { edgeLabelBackground: "#282d3f" } : {},
    });
    for (const [index, { figure, text }] of diagrams.entries()) {
      const { svg } = await mermaid.render(`diagram-${index}`, text);
      figure.innerHTML = svg;
      figure.dataset.theme = dark ? "dark" : "light";
      const picture = figure.firstElementChild;
      // On a phone, half of its size at least: the reader scrolls it sideways.
      picture.style.minWidth = `${Math.min(parseFloat(picture.style.maxWidth) || 0, 560)}px`;
      picture.setAttribute("role", "img");
      if (!picture.querySelector("title")) picture.setAttribute("aria-label", `Diagram ${index + 1} of this page`);
    }
    scrollable();
  }

  const script = document.createElement("script");
  script.src = `${path_to_root}mermaid.min.js`;
  const ready = new Promise((resolve, reject) => {
    script.onload = () => resolve(draw());
    script.onerror = reject;
  });
  document.head.append(script);
  ready.then(() => new MutationObserver(draw).observe(html, { attributeFilter: ["class"] }));
  // mdBook prints the page with all chapters as soon as it is loaded.
  const print = window.print.bind(window);
  window.print = () => ready.finally(print);
})();
