// The demo's identity provider: a strict OpenID Provider that plays UmbrellaID.
//
//   node provider.mjs SETTINGS.json
//
// Secrets come by file, never by argument: SETTINGS.json holds
//   port                     on 127.0.0.1, the only address it listens on
//   client                   { id, secret, redirect_uris, post_logout_redirect_uris }
//   people                   path of a file { login: { password, sub, ...claims } }
//   access_token_seconds     how long an access token lives
//   name                     optional: what it calls itself (default: UmbrellaID)
//   key_file                 optional: where the signing key is kept from start to start, so that the portal can
//                            still sign out whom it signed in before
// The people file is read on each use: whoever is taken out of it is out at the next refresh.
// All else lives in memory and is gone when the process ends.
import { createHash, generateKeyPairSync, randomBytes, timingSafeEqual } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { Provider } from 'oidc-provider';
import { loginPage, noticePage, setName, stylesheet } from './pages.mjs';

const LARGEST_FORM = 4096;

const settings = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const name = settings.name ?? 'UmbrellaID';
setName(name);
const issuer = `http://127.0.0.1:${settings.port}`;
const people = () => JSON.parse(readFileSync(settings.people, 'utf8'));
const bySubject = (subject) => Object.values(people()).find((person) => person.sub === subject);

function newKey() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  // A new name with each key, so that nobody keeps verifying with the one before.
  return { ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256', kid: randomBytes(6).toString('hex') };
}

function keptKey(file) {
  if (file === undefined) return newKey();
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    const key = newKey();
    writeFileSync(file, JSON.stringify(key), { mode: 0o600 });
    return key;
  }
}

function claimsOf({ password, ...claims }) {
  return claims;
}

function sendPage(ctx, page, status = 200, scripts = "'none'") {
  ctx.status = status;
  ctx.type = 'html';
  ctx.set('Cache-Control', 'no-store');
  ctx.set('X-Frame-Options', 'DENY');
  // No form-action: browsers apply it to the redirects after the form too, and those lead to the portal.
  ctx.set('Content-Security-Policy', `default-src 'none'; style-src 'self'; script-src ${scripts}; base-uri 'none'; `
    + "frame-ancestors 'none'");
  ctx.body = page;
}

const provider = new Provider(issuer, {
  clients: [{
    client_id: settings.client.id,
    client_secret: settings.client.secret,
    redirect_uris: settings.client.redirect_uris,
    post_logout_redirect_uris: settings.client.post_logout_redirect_uris,
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'client_secret_post',
  }],
  jwks: { keys: [keptKey(settings.key_file)] },
  cookies: {
    // Cookies know no ports: with one name for all, two demos on one machine would overwrite each other's.
    names: {
      interaction: `umbrella_${settings.port}_interaction`,
      resume: `umbrella_${settings.port}_resume`,
      session: `umbrella_${settings.port}_session`,
    },
    keys: [randomBytes(24).toString('hex')],
  },
  pkce: { required: () => true },
  scopes: ['openid', 'offline_access', 'profile', 'email', 'aarc'],
  claims: {
    openid: ['sub'],
    profile: ['name', 'given_name', 'family_name', 'preferred_username'],
    email: ['email', 'email_verified'],
    aarc: ['voperson_id', 'eduperson_unique_id', 'eduperson_scoped_affiliation', 'eduperson_entitlement',
      'eduperson_assurance', 'eaahash'],
  },
  ttl: {
    AccessToken: settings.access_token_seconds,
    IdToken: 300,
    RefreshToken: 12 * 3600,
    Session: 12 * 3600,
    Interaction: 900,
    Grant: 12 * 3600,
  },
  issueRefreshToken: async (ctx, client) => client.grantTypeAllowed('refresh_token'),
  features: {
    devInteractions: { enabled: false },
    introspection: { enabled: true },
    revocation: { enabled: true },
    rpInitiatedLogout: {
      enabled: true,
      // Whoever logs out of the portal means it: the form sends itself, the button is for browsers without scripts.
      logoutSource: async (ctx, form) => {
        const nonce = randomBytes(16).toString('base64');
        sendPage(ctx, noticePage({
          title: `Sign out of ${name}`,
          text: 'You have left the portal, and are now signed out here too.',
          form: `${form}<button type="submit" form="op.logoutForm" name="logout" value="yes">Sign out</button>
<script nonce="${nonce}">document.querySelector('button').click()</script>`,
        }), 200, `'nonce-${nonce}'`);
      },
      postLogoutSuccessSource: async (ctx) => sendPage(ctx, noticePage({
        title: 'Signed out', text: `You are signed out of ${name}.`,
      })),
    },
  },
  renderError: async (ctx, out) => sendPage(ctx, noticePage({
    title: 'This sign-in cannot go on',
    text: `Go back to the portal and start again. The reason given was: ${out.error_description ?? out.error}.`,
  }), ctx.status),
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  findAccount: async (ctx, subject) => {
    const person = bySubject(subject);
    return person && { accountId: subject, claims: async () => claimsOf(person) };
  },
  // The portal is the only client and the facility's own: consent is given without a page.
  loadExistingGrant: async (ctx) => {
    const grant = new ctx.oidc.provider.Grant({
      clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId,
    });
    grant.addOIDCScope([...ctx.oidc.requestParamScopes].join(' '));
    await grant.save();
    return grant;
  },
});

function sameText(left, right) {
  const digest = (text) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(left), digest(right));
}

function personFor(login, password) {
  const everyone = people();
  const person = Object.hasOwn(everyone, login) ? everyone[login] : undefined;
  return person && sameText(person.password, password) ? person : undefined;
}

async function readForm(ctx) {
  let body = '';
  for await (const chunk of ctx.req) {
    body += chunk;
    if (body.length > LARGEST_FORM) return undefined;
  }
  return new URLSearchParams(body);
}

async function interaction(ctx) {
  const details = await provider.interactionDetails(ctx.req, ctx.res);
  if (ctx.method === 'GET') return sendPage(ctx, loginPage({ hint: details.params.login_hint ?? '' }));
  const form = await readForm(ctx);
  if (form === undefined) {
    return sendPage(ctx, noticePage({ title: 'Too long', text: 'Go back and enter less.' }), 413);
  }
  const login = form.get('login') ?? '';
  let result = { error: 'access_denied', error_description: 'the person cancelled the sign-in' };
  if (!form.has('cancel')) {
    const person = personFor(login, form.get('password') ?? '');
    if (person === undefined) {
      return sendPage(ctx, loginPage({ hint: login, error: 'Login name or password is wrong.' }), 400);
    }
    result = { login: { accountId: person.sub } };
  }
  ctx.respond = false;
  return provider.interactionFinished(ctx.req, ctx.res, result, { mergeWithLastSubmission: false });
}

provider.use(async (ctx, next) => {
  if (ctx.path === '/style.css' && ctx.method === 'GET') {
    ctx.type = 'css';
    ctx.body = stylesheet;
    return undefined;
  }
  if (!/^\/interaction\/[\w-]+$/.test(ctx.path) || !['GET', 'POST'].includes(ctx.method)) return next();
  try {
    return await interaction(ctx);
  } catch (error) {
    if (error.name !== 'SessionNotFound') throw error;
    return sendPage(ctx, noticePage({
      title: 'This sign-in has expired', text: 'Go back to the portal and begin again.',
    }), 400);
  }
});
// For whoever wants to know what the portal asks for; no token is written.
provider.on('grant.success', (ctx) => console.log(`granted ${ctx.oidc.params.grant_type}`));
provider.on('server_error', (ctx, error) => console.error(error));

const server = provider.listen(settings.port, '127.0.0.1', () => console.log(`listening as ${issuer}`));
server.on('error', (error) => {
  console.error(`cannot listen on ${issuer}: ${error.code}`);
  process.exit(1);
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(0));
