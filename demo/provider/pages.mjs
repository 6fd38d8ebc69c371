// The pages a person meets at the demo's identity provider. Every value is escaped where it is put in.

const escape = (text) => String(text).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);

let name = 'UmbrellaID';

// What the provider calls itself: one process is one provider.
export function setName(given) {
  name = given;
}

function page(title, main) {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(title)} · ${escape(name)} (demo)</title>
<link rel="stylesheet" href="/style.css">
</head>
<body>
<header><p class="brand">${escape(name)} <span>(demo)</span></p></header>
<main>
<h1>${escape(title)}</h1>
${main}
</main>
<footer><p>A demonstration on this computer. It is no real ${escape(name)}: never enter a real password.</p></footer>
</body>
</html>`;
}

export function loginPage({ hint, error }) {
  const invalid = error ? ' aria-invalid="true" aria-describedby="error"' : '';
  return page('Sign in', `${error ? `<p id="error" role="alert">${escape(error)}</p>` : ''}
<form method="post">
<label for="login">Login name</label>
<input id="login" name="login" autocomplete="username" autocapitalize="none" spellcheck="false" required maxlength="64"
  value="${escape(hint)}"${invalid}${hint ? '' : ' autofocus'}>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required maxlength="200"${invalid}${hint ? ' autofocus' : ''}>
<button type="submit">Sign in</button>
</form>
<form method="post">
<button type="submit" name="cancel" value="yes" class="quiet">Cancel and go back to the portal</button>
</form>
<p class="note">The logins of the demo are printed in the terminal it was started in.</p>`);
}

// `form` is markup of our own or of oidc-provider, never of a person.
export function noticePage({ title, text, form = '' }) {
  return page(title, `<p>${escape(text)}</p>${form}`);
}

export const stylesheet = `
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: flex; flex-direction: column; color: #1c2733; background: #eef2f6;
  font: 1rem/1.5 system-ui, sans-serif; }
header { background: #123a5c; color: #fff; }
footer { margin-top: auto; }
header p, footer p { max-width: 26rem; margin: 0 auto; padding: .75rem 1rem; }
.brand { font-size: 1.25rem; font-weight: 600; }
.brand span { font-weight: 400; }
main { width: 100%; max-width: 26rem; margin: 2rem auto; padding: 1.5rem 1.5rem 2rem; background: #fff;
  border: 1px solid #c6d0da; border-radius: .5rem; }
h1 { margin: 0 0 1rem; font-size: 1.5rem; }
label { display: block; margin: 1rem 0 .25rem; font-weight: 600; }
input { width: 100%; padding: .5rem .6rem; font: inherit; border: 1px solid #5c6b7a; border-radius: .25rem; }
input[aria-invalid] { border-color: #a3161c; }
button { margin: 1.25rem .5rem 0 0; padding: .55rem 1.2rem; font: inherit; font-weight: 600; color: #fff;
  background: #14598f; border: 1px solid #14598f; border-radius: .25rem; cursor: pointer; }
button.quiet { color: #14598f; background: #fff; }
button:hover { filter: brightness(.92); }
:focus-visible { outline: 3px solid #d97706; outline-offset: 2px; }
[role=alert] { padding: .6rem .8rem; color: #7d1015; background: #fdeeee; border: 1px solid #a3161c; border-radius: .25rem; }
.note, footer { font-size: .9rem; color: #45525f; }
`;
