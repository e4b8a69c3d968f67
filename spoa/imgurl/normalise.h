/*
 * Inside of imgurl: browsers and proxies change a path (":" to "%3A", "//" to "/"), and imgproxy puts it back before it
 * checks the signature. What is signed, verified and parsed is the path after that.
 */
#pragma once

#include "base/sv.h"
#include "imgurl/rewrite.h"

/*
 * `path` is what follows the slash behind the signature; the byte before it is that slash. The result begins with a
 * slash; it is a view of the path itself, or of buf. As imgproxy 4.0: before the first "/plain/" (nowhere when the path
 * starts with "plain/") each "%3A" becomes ":"; behind it the last ":/" that has something before it and no slash
 * behind it becomes "://", or ":///" when "local" alone stands before it; then one slash at the front goes.
 */
struct sv imgurl_normalise(struct sv path, char buf[IMGURL_NORMALISED_MAX]);
