// What SIP statuses say about a call, in words.

const CODES = {
  200: 'the call was answered',
  202: 'the request was accepted',
  302: 'the called party has moved',
  400: 'the request was malformed',
  401: 'the other side wants credentials',
  403: 'the other side does not allow the call',
  404: 'the other side does not know this number',
  405: 'the other side does not allow the method',
  407: 'the proxy wants credentials',
  408: 'the other side did not answer in time',
  410: 'the number is no longer in use',
  415: 'the other side does not know this kind of body',
  420: 'the other side lacks an extension',
  480: 'the called party cannot be reached at the moment',
  481: 'the other side does not know the call any more',
  482: 'the call went round in a loop',
  483: 'the call went through too many hops',
  484: 'the number is incomplete',
  486: 'the called party is busy',
  487: 'the caller gave up before the answer, or the time for an answer was over',
  488: 'the two sides share no codec or media settings',
  491: 'another change of the call was under way',
  500: 'the other side failed',
  501: 'the other side does not support the request',
  502: 'a gateway got a bad answer',
  503: 'the other side is overloaded or down',
  504: 'a gateway got no answer in time',
  513: 'the message was too large',
  600: 'the called party is busy everywhere',
  603: 'the called party declined',
  604: 'the number exists nowhere',
  606: 'the called party accepts none of the media settings',
  607: 'the called party does not want the call',
  608: 'the call was rejected by an analysis on the way',
};

const CLASSES = {
  1: 'the call was on its way',
  2: 'the call was answered',
  3: 'the called party is elsewhere',
  4: 'the request could not be served as it was',
  5: 'the other side failed',
  6: 'no place could serve the call',
};

/** What a SIP status means, as the rest of a sentence; undefined for what is none. */
export function sipMeaning(status) {
  return CODES[status] ?? CLASSES[Math.floor(status / 100)];
}
