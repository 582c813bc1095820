// Widgets ask for mathematics through MathJax 2's queue; hand their requests to MathJax 3.
if (window.MathJax && MathJax.startup) {
  MathJax.Hub = {
    Queue: ([, , element]) =>
      MathJax.startup.promise.then(() => MathJax.typesetPromise([element])),
  };
}
