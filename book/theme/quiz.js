// Makes quizzes of a chapter's questions: the reader answers first, and then sees the
// answer. What was answered is kept in this browser's storage and nowhere else. Without
// this script a question is text, with its answer folded below it.
(() => {
  const STORE = "marketsvc-book-answers";
  const page = location.pathname.split("/").pop().replace(/\.html$/, "") || "index";
  const questions = [...document.querySelectorAll(".question")];
  let progress;

  // The page with all chapters, for printing, asks nothing.
  if (document.querySelector('meta[name="robots"][content="noindex"]')) return;

  // {page: {total, answers: {question: {given, right}}}}
  function stored() {
    try {
      return JSON.parse(localStorage.getItem(STORE)) ?? {};
    } catch {
      return {};
    }
  }

  function store(change) {
    const all = stored();
    const mine = all[page] ?? { answers: {} };
    mine.total = questions.length;
    change(mine.answers);
    all[page] = mine;
    try {
      localStorage.setItem(STORE, JSON.stringify(all));
    } catch {
      // A browser that keeps nothing asks again at the next visit.
    }
    showProgress();
  }

  function make(name, properties = {}, ...children) {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  }

  // The letters `a`, `c` as "a and c".
  const words = (letters) => letters.join(", ").replace(/, (?=[^,]*$)/, " and ");

  function quiz(question) {
    const details = question.querySelector(":scope > details.answer");
    const right = question.dataset.right.split(" ").filter(Boolean);
    const number = question.id.split("-").pop();
    const form = make("form", { className: "quiz" });
    const verdict = make("div", { className: "verdict" });
    verdict.setAttribute("role", "status");
    const submit = make("button", { type: "submit" });
    const again = make("button", { type: "button", textContent: "Answer again" });
    const buttons = make("div", { className: "buttons-row" }, submit, again);
    const { given, show, reset } = right.length ? choices() : open();
    form.append(buttons, verdict);
    details.before(form);

    function choices() {
      const list = details.previousElementSibling;
      const fieldset = make("fieldset");
      const several = right.length > 1;
      const all = `Question ${number}: choose ${several ? "every right answer" : "an answer"}`;
      fieldset.append(make("legend", { textContent: all, className: several ? "" : "for-screen-readers" }));
      const inputs = [...list.children].map((item, index) => {
        const input = make("input", {
          type: several ? "checkbox" : "radio",
          name: question.id,
          value: String.fromCharCode(97 + index),
        });
        fieldset.append(make("label", { className: "choice" }, input, make("div", {}, ...item.childNodes)));
        return input;
      });
      list.remove();
      form.append(fieldset);
      submit.textContent = "Check";
      return {
        given: () => inputs.filter((input) => input.checked).map((input) => input.value),
        show(letters) {
          for (const input of inputs) {
            input.checked = letters.includes(input.value);
            input.disabled = true;
            if (right.includes(input.value)) input.parentElement.classList.add("is-right");
            else if (input.checked) input.parentElement.classList.add("is-wrong");
          }
          const good = words(letters) === words(right);
          verdict.className = `verdict ${good ? "good" : "bad"}`;
          verdict.textContent = good ? `✓ ${words(right)} is right.` : `✗ You chose ${words(letters)}. The answer is ${words(right)}.`;
          return good;
        },
        reset() {
          for (const input of inputs) {
            input.checked = input.disabled = false;
            input.parentElement.classList.remove("is-right", "is-wrong");
          }
        },
      };
    }

    function open() {
      const field = make("textarea", { rows: 3, id: `${question.id}-words` });
      form.append(make("label", { htmlFor: field.id, textContent: "Your answer" }), field);
      submit.textContent = "Compare with ours";
      const inMind = make("button", { type: "button", textContent: "I have an answer in mind" });
      inMind.addEventListener("click", () => answered({ given: "" }));
      submit.after(inMind);
      const judge = (right, textContent) => {
        const button = make("button", { type: "button", textContent });
        button.addEventListener("click", () => answered({ given: field.value, right }));
        return button;
      };
      const [yes, no] = [judge(true, "Yes"), judge(false, "Not quite")];
      const asked = make("div", { className: "buttons-row", hidden: true }, make("span", { textContent: "Was it so?" }), yes, no);
      details.after(asked);
      return {
        given: () => field.value.trim(),
        show(given, judged) {
          field.value = given;
          field.readOnly = true;
          inMind.hidden = true;
          asked.hidden = false;
          yes.setAttribute("aria-pressed", judged === true);
          no.setAttribute("aria-pressed", judged === false);
          verdict.className = "verdict";
          verdict.textContent = "Compare your answer with ours:";
          return judged;
        },
        reset() {
          field.value = "";
          field.readOnly = false;
          inMind.hidden = false;
          asked.hidden = true;
        },
      };
    }

    function showAnswer({ given, right }) {
      const judged = show(given, right);
      submit.hidden = true;
      again.hidden = false;
      details.hidden = false;
      details.open = true;
      return judged;
    }

    function answered(answer) {
      const focused = question.contains(document.activeElement);
      const right = showAnswer(answer);
      store((answers) => (answers[question.id] = { given: answer.given, right }));
      // The button that was pressed may be gone.
      if (focused && document.activeElement.offsetParent === null) again.focus();
    }

    function askAgain() {
      reset();
      submit.hidden = false;
      again.hidden = true;
      verdict.className = "verdict";
      verdict.textContent = "";
      details.hidden = true;
      details.open = false;
    }

    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (given().length) {
        answered({ given: given() });
      } else {
        verdict.textContent = right.length ? "Choose an answer first." : "Write an answer first, or have one in mind.";
      }
    });
    again.addEventListener("click", () => {
      askAgain();
      store((answers) => delete answers[question.id]);
      form.querySelector("input, textarea").focus();
    });
    askAgain();
    const before = stored()[page]?.answers[question.id];
    if (before) showAnswer(before);
    return askAgain;
  }

  function showProgress() {
    const all = stored();
    for (const link of document.querySelectorAll("#mdbook-sidebar .chapter a[href]")) {
      if (link.hash) continue;
      const chapter = all[link.pathname.split("/").pop().replace(/\.html$/, "")];
      const count = chapter ? Object.keys(chapter.answers).length : 0;
      link.querySelector(".answered")?.remove();
      if (count) {
        const text = make("span", { className: "answered", textContent: `${count}/${chapter.total}` });
        text.append(make("span", { className: "for-screen-readers", textContent: " questions answered" }));
        link.append(text);
      }
    }
    if (!progress) return;
    const answers = Object.values(all[page]?.answers ?? {});
    const right = answers.filter((answer) => answer.right).length;
    progress.firstChild.textContent =
      `Questions: ${answers.length} of ${questions.length} answered` + (answers.length ? `, ${right} right.` : ".");
    progress.lastChild.hidden = !answers.length;
  }

  if (questions.length) {
    const resets = questions.map(quiz);
    const forget = make("button", { type: "button", textContent: "Forget my answers" });
    progress = make("div", { className: "quiz-progress" }, make("span"), forget);
    forget.addEventListener("click", () => {
      for (const reset of resets) reset();
      store((answers) => {
        for (const question of Object.keys(answers)) delete answers[question];
      });
      progress.tabIndex = -1;
      progress.focus();
    });
    document.querySelector("main h1").after(progress);
  }
  showProgress();
})();
