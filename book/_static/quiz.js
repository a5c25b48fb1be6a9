/* Questions that check themselves (see _ext/quiz.py). Whatever is said here stands in the page already, below
   "The answer, and why"; nothing is sent or stored. A question counts as right at the first try only once. */
"use strict";

(() => {
  const forms = [...document.querySelectorAll("form.question")];
  const score = document.querySelector(".score");
  const tries = new Map(); // by form: how often it was checked, and whether it is right by now

  function element(name, text, kind) {
    const made = document.createElement(name);
    made.textContent = text;
    if (kind) made.className = kind;
    return made;
  }

  /* What a reader may type for a number: 18,874,368 or 18 874 368, 1.9e7 or 1.9 × 10^7, 12%. NaN for anything else. */
  function read(text, unit) {
    let typed = text.trim().replace(/[\u2212\u2013]/g, "-");
    if (unit && typed.endsWith(unit)) typed = typed.slice(0, -unit.length);
    typed = typed.replace(/[\s_]/g, "").replace(/[×x*·]10(\^|\*\*)?(?=[-+\d])/i, "e");
    if (/^[-+]?\d{1,3}(,\d{3})+(\.\d*)?$/.test(typed)) typed = typed.replaceAll(",", "");
    return /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(typed) ? Number(typed) : NaN;
  }

  /* Why an answer is right or wrong, without repeating the answer itself. */
  function reasons(item) {
    return [...item.children].filter((part) => !part.matches(".line")).map((part) => part.cloneNode(true));
  }

  function answersOf(form) {
    return [...form.querySelectorAll("details.answers > ul > li")];
  }

  /* Each verdict: whether all is right, a headline, and what to show below it; null if nothing was answered yet. */
  function judgeNumber(form) {
    const field = form.querySelector("input");
    if (!field.value.trim()) return { say: "Type a number first." };
    const number = read(field.value, form.querySelector(".unit").textContent);
    if (Number.isNaN(number)) return { say: "That cannot be read as a number. Write it like 18,874,368 or 1.9e7 or 0.5." };
    const answers = answersOf(form);
    const near = (item) => Math.abs(number - Number(item.dataset.number)) <= Number(item.dataset.within);
    const met = answers.find((item) => "number" in item.dataset && near(item)) ?? answers.at(-1);
    const right = met.matches(".right");
    return { right, head: right ? "Right." : "Not right.", below: reasons(met) };
  }

  function judgeChoice(form) {
    const inputs = [...form.querySelectorAll("input")];
    const answers = answersOf(form);
    const chosen = inputs.filter((input) => input.checked).map((input) => answers[inputs.indexOf(input)]);
    if (!chosen.length) return { say: "Choose an answer first." };
    if (inputs[0].type === "radio") {
      const right = chosen[0].matches(".right");
      return { right, head: right ? "Right." : "Not right.", below: reasons(chosen[0]) };
    }
    const good = chosen.filter((item) => item.matches(".right")).length;
    const missing = answers.filter((item) => item.matches(".right")).length - good;
    const right = good === chosen.length && !missing;
    const lack = missing ? `${missing === 1 ? "One right answer is" : `${missing} right answers are`} missing. ` : "";
    const below = document.createElement("ul");
    below.append(...chosen.map((item) => item.cloneNode(true)));
    return { right, head: right ? "Right, all of them." : `Not right yet. ${lack}`, below: [below] };
  }

  function check(form) {
    const said = form.querySelector(".feedback");
    const verdict = form.querySelector(".number") ? judgeNumber(form) : judgeChoice(form);
    said.className = "feedback";
    if (verdict.say) {
      said.replaceChildren(element("p", verdict.say));
      return;
    }
    const before = tries.get(form) ?? { times: 0, right: false, first: false };
    const first = before.first || (verdict.right && before.times === 0);
    tries.set(form, { times: before.times + 1, right: before.right || verdict.right, first });
    said.classList.add(verdict.right ? "right" : "wrong");
    said.replaceChildren(element("p", verdict.head, "head"), ...verdict.below);
    form.querySelector("details.answers").hidden = false;
    show();
  }

  function show() {
    if (!score) return;
    const states = [...tries.values()];
    const right = states.filter((state) => state.right).length;
    const first = states.filter((state) => state.first).length;
    const tried = right ? `, ${first} of them at the first try` : "";
    score.querySelector(".shown").textContent = `${right} of ${forms.length} right so far${tried}.`;
  }

  /* An answer that is changed is not the one that was judged. */
  function forget(form) {
    const said = form.querySelector(".feedback");
    said.className = "feedback";
    said.replaceChildren();
  }

  function restart() {
    tries.clear();
    for (const form of forms) {
      form.reset();
      forget(form);
      fold(form);
    }
    show();
    forms[0].querySelector("input").focus();
  }

  /* Before the first try, the answers are not even one click away. */
  function fold(form) {
    const answers = form.querySelector("details.answers");
    answers.open = false;
    answers.hidden = true;
  }

  for (const form of forms) {
    fold(form);
    form.querySelector(".check").hidden = false;
    form.addEventListener("input", () => forget(form));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      check(form);
    });
  }
  if (score && forms.length) {
    score.hidden = false;
    score.querySelector("button").addEventListener("click", restart);
    show();
  }
})();
