// The widgets' icon font lies in @jupyter-widgets/ beside this script, whatever the page's folder.
window.require = { baseUrl: new URL(".", document.currentScript.src).href };
