"use strict";
// A figure is a link to itself at full size.
for (const image of document.querySelectorAll("article img")) {
  if (image.closest("a")) continue;
  const link = Object.assign(document.createElement("a"), { href: image.src, title: "Show at full size" });
  image.replaceWith(link);
  link.append(image);
}
