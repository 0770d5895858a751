# Turn network-config version 2 into lines "mac name addresses gateway4 gateway6 dhcp4 mtu dns", "-" for none.
#
# Subset: ethernets with match.macaddress (or the name as id), addresses, gateway4, gateway6, routes to default,
# dhcp4, mtu, nameservers.addresses, set-name (ignored). YAML block or flow style, or JSON. Every key that is
# not known begins an ethernet; an address with a prefix length is the interface's, one without is a name server's.
function begin() { id = ""; mac = list = gw4 = gw6 = dhcp = mtu = dns = "" }
function finish() {
  if (id != "")
    print dash(tolower(mac)), id, dash(list), dash(gw4), dash(gw6), dash(dhcp), dash(mtu), dash(dns)
  begin()
}
function dash(text) { return text == "" ? "-" : text }
function joined(text, more) { return text == "" ? more : text "," more }
function value(word) {
  if (key == "macaddress") mac = word
  else if (key == "addresses") { if (word ~ /\//) list = joined(list, word); else dns = joined(dns, word) }
  else if (key == "gateway4") gw4 = word
  else if (key == "gateway6") gw6 = word
  else if (key == "dhcp4") dhcp = word
  else if (key == "mtu") mtu = word
  else if (key == "to") { to = word; route() }
  else if (key == "via") { via = word; route() }
}
function route() {
  if (to == "" || via == "") return
  if (to == "default" || to == "0.0.0.0/0" || to == "::/0") { if (via ~ /:/) gw6 = via; else gw4 = via }
  to = via = ""
}
BEGIN {
  split("version network ethernets match macaddress set-name dhcp4 dhcp6 addresses gateway4 gateway6 routes to via metric on-link nameservers search mtu optional wakeonlan accept-ra driver name renderer link-local dhcp-identifier", names, " ")
  for (i in names) known[names[i]] = 1
  begin()
}
{
  sub(/(^|[ \t])#.*/, "")
  gsub(/["'] *:/, ": ")
  gsub(/[]["'{},]/, " ")
  for (i = 1; i <= NF; i++) {
    word = $i
    if (word == "-") continue
    if (word ~ /:$/ && word !~ /:.*:$/) {
      key = substr(word, 1, length(word) - 1)
      if (!(key in known)) { finish(); id = key }
      if (key == "routes") to = via = ""
    } else value(word)
  }
}
END { finish() }
