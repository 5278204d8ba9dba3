// A demo user who is clicked is filled in.
for (const button of document.querySelectorAll(".demo")) {
  button.addEventListener("click", () => {
    const form = document.forms[0];
    form.elements.name.value = button.dataset.name;
    form.elements.password.value = button.dataset.password;
    form.requestSubmit();
  });
}
