// A request as a command for a POSIX shell.

// Linux takes no argument of 128 KiB or more: a longer body goes in through standard input.
const LONGEST_ARGUMENT = 100_000;
// What a reader cannot see, or what changes the order that a line is read in.
const UNSEEN = /[\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

/** Return the command that sends a body of JSON to an address; the key stays in a variable. */
export function curlCommand(url, body, withKey) {
  const json = body.replace(UNSEEN, escape);
  const inArgument = new TextEncoder().encode(json).length < LONGEST_ARGUMENT;
  const parts = [
    "curl -sS",
    "-H 'Content-Type: application/json'",
    ...(withKey ? ['-H "Authorization: Bearer $KEY"'] : []),
    inArgument ? `-d ${quote(json)}` : "--data-binary @-",
    quote(url),
  ];
  const command = parts.join(" ");
  return inArgument ? command : `${command} <<'END'\n${json}\nEND`;
}

function quote(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function escape(character) {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
